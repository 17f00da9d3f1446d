#include "server/state_init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "compliance/journal.h"
#include "compliance/signer.h"
#include "server/store.h"

enum owner { OWNER_ROOT, OWNER_SERVER, OWNER_KEEPER, OWNER_SIGNER };

/*
 * What init makes, folders before what is in them. The journal is the
 * keeper's; the engine reads it by the group, which the folder hands on to
 * the files that SQLite makes beside it.
 */
static const struct item {
	const char *name;
	bool folder;
	enum owner owner;
	bool engine_reads;
	mode_t mode;
} items[] = {
    {"journal", true, OWNER_KEEPER, true, 02750},
    {"signer", true, OWNER_SIGNER, false, 0700},
    {"chat", true, OWNER_SERVER, false, 0700},
    {"lock", false, OWNER_ROOT, false, 0600},
    {"signer/key", false, OWNER_SIGNER, false, 0600},
    {"signer/next", false, OWNER_SIGNER, false, 0600},
    {"signer/state", false, OWNER_SIGNER, false, 0600},
    {"chat/chat.db", false, OWNER_SERVER, false, 0600},
    {"journal/journal.db", false, OWNER_KEEPER, true, 0640},
};
#define ITEM_COUNT (sizeof items / sizeof items[0])

struct init {
	const struct conf *conf;
	char *paths[ITEM_COUNT];
	char *why;
	size_t why_len;
};

static const char *
path_of(const struct init *in, const char *name)
{
	for (size_t i = 0; i < ITEM_COUNT; i++)
		if (strcmp(items[i].name, name) == 0)
			return in->paths[i];
	return NULL;
}

static int
fail(const struct init *in, const char *path)
{
	(void)snprintf(in->why, in->why_len, "%s: %s", path, strerror(errno));
	return -1;
}

/* Folders may be there when they hold nothing of ours. */
static int
check_absent(const struct init *in)
{
	struct stat st;

	for (size_t i = 0; i < ITEM_COUNT; i++) {
		if (items[i].folder || strcmp(items[i].name, "lock") == 0)
			continue;
		if (lstat(in->paths[i], &st) == 0) {
			(void)snprintf(in->why, in->why_len,
			    "%s: exists already; a state is made only once",
			    in->paths[i]);
			return 1;
		}
		if (errno != ENOENT && errno != ENOTDIR)
			return fail(in, in->paths[i]);
	}
	return 0;
}

static int
make_folders(const struct init *in)
{
	if (file_make_dirs(in->conf->state_dir, 0755) != 0)
		return fail(in, in->conf->state_dir);
	for (size_t i = 0; i < ITEM_COUNT; i++)
		if (items[i].folder && mkdir(in->paths[i], 0700) != 0 &&
		    errno != EEXIST)
			return fail(in, in->paths[i]);
	return 0;
}

/* A version 4 UUID (RFC 4122 section 4.4), 36 characters. */
static void
make_uuid(char out[37])
{
	uint8_t b[16];

	crypto_random(b, sizeof b);
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	(void)snprintf(out, 37,
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
	    "%02x%02x%02x%02x%02x%02x",
	    b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
	    b[11], b[12], b[13], b[14], b[15]);
}

static int
make_content(const struct init *in, struct buf *origin, struct buf *vkey)
{
	const char *lock = path_of(in, "lock");
	char uuid[37];
	int fd;

	fd = open(lock, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || close(fd) != 0)
		return fail(in, lock);
	make_uuid(uuid);
	buf_printf(origin, "%s/journal/%.8s", in->conf->domain, uuid);
	if (buf_text(origin) == NULL) {
		errno = ENOMEM;
		return fail(in, in->conf->state_dir);
	}
	if (signer_init(path_of(in, "signer"), buf_text(origin), vkey, in->why,
		in->why_len) != 0)
		return -1;
	if (buf_text(vkey) == NULL) {
		errno = ENOMEM;
		return fail(in, in->conf->state_dir);
	}
	if (store_create(path_of(in, "chat/chat.db"), in->conf->domain, in->why,
		in->why_len) != 0)
		return -1;
	/* Last: a journal without its signer would be of no use. */
	return journal_create(path_of(in, "journal/journal.db"), uuid,
	    buf_text(origin), buf_text(vkey), in->why, in->why_len);
}

static const char *
owner_name(const struct conf *conf, enum owner o)
{
	switch (o) {
	case OWNER_SERVER:
		return conf->user_server;
	case OWNER_KEEPER:
		return conf->user_keeper;
	case OWNER_SIGNER:
		return conf->user_signer;
	case OWNER_ROOT:
		break;
	}
	return NULL;
}

static int
user_of(const struct init *in, const char *name, uid_t *uid, gid_t *gid)
{
	if (process_user(name, uid, gid) == 0)
		return 0;
	(void)snprintf(
	    in->why, in->why_len, "user %s: %s", name, process_user_error());
	return -1;
}

/* Modes for everybody; owners only when we are root. */
static int
give_away(const struct init *in)
{
	bool root = geteuid() == 0;
	uid_t uid = 0, engine_uid = 0;
	gid_t gid = 0, engine_gid = 0;

	if (root &&
	    user_of(in, in->conf->user_engine, &engine_uid, &engine_gid) != 0)
		return -1;
	for (size_t i = 0; i < ITEM_COUNT; i++) {
		const char *name = owner_name(in->conf, items[i].owner);

		if (root && name != NULL) {
			if (user_of(in, name, &uid, &gid) != 0)
				return -1;
			if (items[i].engine_reads)
				gid = engine_gid;
			if (lchown(in->paths[i], uid, gid) != 0)
				return fail(in, in->paths[i]);
		}
		/* After the owner: chown takes the set-group-ID bit away. */
		if (chmod(in->paths[i],
			root ? items[i].mode : items[i].mode & 0700) != 0)
			return fail(in, in->paths[i]);
	}
	return 0;
}

/* Everything is known to be ours: it was not there before. */
static void
undo(const struct init *in)
{
	for (size_t i = ITEM_COUNT; i-- > 0;) {
		if (items[i].folder)
			(void)rmdir(in->paths[i]); /* best effort */
		else
			(void)unlink(in->paths[i]);
	}
}

int
state_init(const struct conf *conf, struct buf *origin, struct buf *vkey,
    char *why, size_t why_len)
{
	struct init in = {.conf = conf, .why = why, .why_len = why_len};
	bool complete = true;
	int result = -1;

	for (size_t i = 0; i < ITEM_COUNT; i++) {
		in.paths[i] = conf_state_path(conf, items[i].name);
		complete = complete && in.paths[i] != NULL;
	}
	if (complete) {
		result = check_absent(&in);
		if (result == 0) {
			result = make_folders(&in);
			if (result == 0)
				result = make_content(&in, origin, vkey);
			if (result == 0)
				result = give_away(&in);
			if (result != 0)
				undo(&in);
		}
	} else {
		(void)snprintf(why, why_len, "out of memory");
	}
	for (size_t i = 0; i < ITEM_COUNT; i++)
		free(in.paths[i]);
	return result;
}
