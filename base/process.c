#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int
process_user(const char *name, uid_t *uid, gid_t *gid)
{
	const struct passwd *entry;
	unsigned long number;
	char *end;

	if (name[0] == '#') {
		errno = 0;
		number = strtoul(name + 1, &end, 10);
		if (errno != 0 || *end != '\0' || end == name + 1 ||
		    number == 0 || number > 0x7fffffff) {
			errno = EINVAL;
			return -1;
		}
		*uid = (uid_t)number;
		*gid = (gid_t)number;
		return 0;
	}
	errno = 0;
	entry = getpwnam(name);
	if (entry == NULL) {
		if (errno == 0)
			errno = ENOENT;
		return -1;
	}
	*uid = entry->pw_uid;
	*gid = entry->pw_gid;
	return 0;
}

const char *
process_user_error(void)
{
	return errno == ENOENT
	    ? "no such user; make it, as by useradd --system --user-group, or "
	      "name another one: see users in chancery.conf(5)"
	    : strerror(errno);
}

static int
become(const char *user)
{
	uid_t uid;
	gid_t gid;

	if (process_user(user, &uid, &gid) != 0)
		return -1;
	if (uid == 0) {
		errno = EPERM;
		return -1;
	}
	if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 ||
	    setresuid(uid, uid, uid) != 0)
		return -1;
	return 0;
}

/* Never above the hard limit that we were given. */
static int
limit(int what, rlim_t value)
{
	struct rlimit now;

	if (getrlimit((__rlimit_resource_t)what, &now) != 0)
		return -1;
	if (now.rlim_max != RLIM_INFINITY && value > now.rlim_max)
		value = now.rlim_max;
	now.rlim_cur = value;
	now.rlim_max = value;
	return setrlimit((__rlimit_resource_t)what, &now);
}

int
process_drop(const char *user, unsigned files)
{
	(void)umask(077);
	if (limit(RLIMIT_CORE, 0) != 0 || limit(RLIMIT_NOFILE, files) != 0)
		return -1;
	if (geteuid() == 0 && become(user) != 0)
		return -1;
	/* After the change of user, which forgets it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int
process_inherit(int fd, bool inherit)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0)
		return -1;
	flags = inherit ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC;
	return fcntl(fd, F_SETFD, flags);
}
