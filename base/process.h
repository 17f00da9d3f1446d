#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

/* Rights and limits of a process. */

#include <stdbool.h>
#include <sys/types.h>

/* uid and gid of a user name, or of "#1234" as a number for both. */
int process_user(const char *name, uid_t *uid, gid_t *gid);
/* Why it failed, by errno, and what a person can do. */
const char *process_user_error(void);
/*
 * Gives up all rights that the role does not need: when root, becomes user
 * (no supplementary groups); always no-new-privs, no core dumps, umask 077,
 * at most `files` open files, and death with the parent. 0, or -1 with errno:
 * the caller must exit.
 */
int process_drop(const char *user, unsigned files);
/* Close-on-exec on or off. */
int process_inherit(int fd, bool inherit);

#endif
