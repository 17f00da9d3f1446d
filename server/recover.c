#include "server/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "compliance/event.h"
#include "compliance/note.h"
#include "compliance/segments.h"
#include "server/recover_state.h"

int
recover_say(struct recover *r, int result, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->why, r->why_len, fmt, ap); /* for people */
	va_end(ap);
	return result;
}

int
recover_give(struct recover *r, const char *path, const char *user,
    const char *group_of, unsigned mode)
{
	uid_t uid = 0, ignored;
	gid_t gid = 0;

	if (geteuid() != 0)
		mode &= 0700;
	else if (process_user(user, &uid, &gid) != 0 ||
	    (group_of != NULL && process_user(group_of, &ignored, &gid) != 0))
		return recover_say(
		    r, -1, "user %s: %s", user, process_user_error());
	/* After the owner: chown takes the set-group-ID bit away. */
	if ((geteuid() == 0 && lchown(path, uid, gid) != 0) ||
	    chmod(path, mode) != 0)
		return recover_say(r, -1, "%s: %s", path, strerror(errno));
	return 0;
}

/* ---- the journal ---- */

static const char *const suffixes[] = {"", "-wal", "-shm", ".new"};
#define SUFFIXES (sizeof suffixes / sizeof suffixes[0])
#define KEPT_SUFFIXES 3

/* A file of a journal, or what is beside it; NULL: out of memory. */
static char *
beside(const char *path, unsigned segment, const char *suffix)
{
	char *file = segments_path(path, segment), *name = NULL;

	if (file == NULL || asprintf(&name, "%s%s", file, suffix) < 0)
		name = NULL;
	free(file);
	return name;
}

static void
remove_rebuilt(const struct recover *r)
{
	unsigned newest = segments_newest(r->rebuilt) + 1;

	for (unsigned n = 0; n <= newest; n++)
		for (size_t i = 0; i < SUFFIXES; i++) {
			char *name = beside(r->rebuilt, n, suffixes[i]);

			if (name != NULL)
				(void)unlink(name); /* or the next try does */
			free(name);
		}
}

static int
give_journal(struct recover *r, const char *path)
{
	return recover_give(
	    r, path, r->conf->user_keeper, r->conf->user_engine, 0640);
}

/* One file that was made anew, with what must stay beside it. */
static int
put_in_place(struct recover *r, unsigned segment)
{
	int result = 0;

	for (size_t i = KEPT_SUFFIXES; i-- > 0 && result == 0;) {
		char *from = beside(r->rebuilt, segment, suffixes[i]);
		char *to = beside(r->journal_path, segment, suffixes[i]);

		if (from == NULL || to == NULL)
			result = recover_say(r, -1, "out of memory");
		else if (access(from, F_OK) == 0) {
			result = give_journal(r, from);
			if (result == 0 && rename(from, to) != 0)
				result = recover_say(
				    r, -1, "%s: %s", to, strerror(errno));
		}
		free(from);
		free(to);
	}
	return result;
}

static int
sync_folder(struct recover *r)
{
	if (file_sync_parent(r->journal_path) == 0)
		return 0;
	return recover_say(r, -1, "%s: %s", r->journal_path, strerror(errno));
}

/*
 * Segment 0 comes last, when the power cannot take the others' names any
 * more: without it there is no journal.
 */
static int
put_all_in_place(struct recover *r)
{
	int result = 0;

	for (unsigned n = segments_newest(r->rebuilt); n > 0; n--)
		if (result == 0)
			result = put_in_place(r, n);
	if (result == 0)
		result = sync_folder(r);
	if (result == 0)
		result = put_in_place(r, 0);
	return result == 0 ? sync_folder(r) : result;
}

static int
make_journal(struct recover *r, struct view fields)
{
	char *uuid = leaf_field_dup(fields, "journal");
	char *origin = leaf_field_dup(fields, "origin");
	char *vkey = leaf_field_dup(fields, "vkey");
	int result = 1;

	if (uuid == NULL || origin == NULL || vkey == NULL)
		(void)recover_say(r, 1, "record 0 is no open record");
	else
		result = journal_create(
		    r->rebuilt, uuid, origin, vkey, r->why, r->why_len);
	if (result == 0)
		result = give_journal(r, r->rebuilt);
	free(uuid);
	free(origin);
	free(vkey);
	return result;
}

/* What is left of a journal could become part of the new one. */
static int
check_rests(struct recover *r)
{
	char *wal = beside(r->journal_path, 0, "-wal");
	struct stat st;
	int result = 0;

	if (wal == NULL)
		return recover_say(r, -1, "out of memory");
	if (segments_newest(r->journal_path) > 0)
		result = recover_say(r, 1,
		    "%s: it is missing, but a later file of the journal is "
		    "there. Nothing was changed. Next: move that aside, and "
		    "give it as a source, too",
		    r->journal_path);
	else if (stat(wal, &st) == 0 && st.st_size > 0)
		result = recover_say(r, 1,
		    "%s: it is there without its database. Nothing was "
		    "changed. Next: move it aside",
		    wal);
	free(wal);
	return result;
}

/* An empty journal of the identity that record 0 of the sources tells. */
static int
begin_journal(struct recover *r, struct recover_source *source)
{
	struct journal_record record;
	struct leaf leaf;
	const char *reason;
	int n;

	if (source == NULL)
		return recover_say(r, 1,
		    "%s: there is no journal. Next: put a copy of it there, or "
		    "make it from archives and copies: chancery-export "
		    "evidence FILE... | chancery recover --from -",
		    r->journal_path);
	n = check_rests(r);
	if (n != 0)
		return n;
	if (asprintf(&r->rebuilt, "%s.new", r->journal_path) < 0) {
		r->rebuilt = NULL;
		return recover_say(r, -1, "out of memory");
	}
	remove_rebuilt(r); /* of a try that was interrupted */
	n = recover_source_first(source, &record, r->why, r->why_len);
	if (n < 0)
		return 1;
	if (n == 0 || record.seq != 0 ||
	    !leaf_parse(record.leaf, &leaf, &reason) ||
	    leaf.head.kind != EVENT_OPEN)
		return recover_say(r, 1,
		    "%s: there is no journal, and the sources do not begin "
		    "with record 0. Nothing was changed. Next: put a copy of "
		    "the journal there, or find the first archives",
		    r->journal_path);
	return make_journal(r, leaf.fields);
}

int
recover_open_journal(struct recover *r, struct recover_source *source)
{
	const char *path = r->journal_path;
	char why[512];
	int result;

	if (access(path, F_OK) != 0) {
		if (errno != ENOENT)
			return recover_say(
			    r, -1, "%s: %s", path, strerror(errno));
		result = begin_journal(r, source);
		if (result != 0)
			return result;
		path = r->rebuilt;
	}
	r->journal = journal_open(path, why, sizeof why);
	if (r->journal != NULL)
		return 0;
	return recover_say(r, 1,
	    "%s. Nothing was changed. Next: move the file aside with those "
	    "beside it, and make a new one of what it and the archives hold: "
	    "chancery-export evidence FILE... | chancery recover --from -",
	    why);
}

int
recover_finish_journal(struct recover *r)
{
	int result = 0;

	if (journal_truncate(r->journal) != 0)
		result = recover_say(r, -1, "%s: %s", r->journal_path,
		    journal_error(r->journal));
	journal_close(r->journal);
	r->journal = NULL;
	if (result == 0 && r->rebuilt != NULL)
		result = put_all_in_place(r);
	return result;
}

int
recover_import(struct recover *r, struct recover_source *source,
    struct journal_import *import)
{
	char *path = file_join(r->signer_path, "closing");
	int result;

	if (path != NULL && file_read(path, NOTE_MAX, &r->closing) == 0)
		import->extra = buf_view(&r->closing);
	free(path);
	import->roll = r->rebuilt != NULL;
	recover_source_feed(source, import);
	result = journal_import(r->journal, import);
	if (result < 0)
		return recover_say(r, -1, "%s: %s. Nothing was changed",
		    r->journal_path, journal_error(r->journal));
	if (result == 0)
		return 0;
	if (import->unread)
		return recover_say(r, 1,
		    "%s. Nothing was changed. Next: write the records anew by "
		    "chancery-export evidence",
		    import->why);
	if (!import->misses)
		return recover_say(r, 1,
		    "%s. Nothing was changed. Keep all copies as evidence. "
		    "Next: leave out the source that is wrong, or go on with a "
		    "declared gap: chancery recover --new-incarnation "
		    "--reason fork",
		    import->why);
	return recover_say(r, 1,
	    "record %" PRIu64 " is in none of the sources; %" PRIu64
	    " records were signed. Nothing was changed. Next: find an archive "
	    "or a copy of the journal that holds it, or go on with a declared "
	    "gap: chancery recover --new-incarnation --reason lost",
	    import->missing, import->size);
}

/* ---- the lossless way ---- */

int
recover_check_identity(struct recover *r)
{
	if (strcmp(r->signer.origin, journal_origin(r->journal)) == 0)
		return 0;
	return recover_say(r, 1,
	    "the journal is %s, the signer's folder %s. Next: put journal and "
	    "signer of the same installation together",
	    journal_origin(r->journal), r->signer.origin);
}

static int
check_state(struct recover *r)
{
	if (signer_look(r->signer_path, &r->signer, r->why, r->why_len) != 0)
		return -1;
	if (r->signer.state)
		return 0;
	return recover_say(r, 1,
	    "%s/state: there is none, so nobody knows what was signed last. "
	    "Next: put it back, or make it from the newest checkpoint that "
	    "anybody holds: chancery recover --signer-state NOTE",
	    r->signer_path);
}

static int
recover_lossless(struct recover *r, json_t **result)
{
	struct journal_import import = {.size = 0};
	struct recover_source *source;
	uint64_t size = 0;
	int status = check_state(r);

	if (status != 0)
		return status;
	source = recover_source_open(
	    r->order->from, r->order->progress, r->why, r->why_len);
	if (source == NULL)
		return -1;
	import.size = r->signer.size;
	memcpy(import.root, r->signer.root, sizeof import.root);
	status = recover_open_journal(r, source);
	/* A journal that is made anew takes its present name from a record. */
	if (status == 0 && r->rebuilt == NULL)
		status = recover_check_identity(r);
	if (status == 0)
		status = recover_import(r, source, &import);
	if (status == 0)
		status = recover_check_identity(r);
	if (status == 0) {
		size = journal_size(r->journal);
		status = recover_finish_journal(r);
	}
	recover_source_close(source);
	if (status == 0)
		*result = json_pack("{s:I,s:I,s:I,s:I}", "recovered",
		    (json_int_t)import.appended, "size", (json_int_t)size,
		    "signed", (json_int_t)r->signer.size, "unclosed",
		    (json_int_t)import.unclosed);
	return status;
}

/* ---- what all have in common ---- */

/* The lock that says that no daemon runs; -1. */
static int
lock_state(struct recover *r)
{
	char *path = conf_state_path(r->conf, "lock");
	int fd;

	if (path == NULL)
		return recover_say(r, -1, "out of memory");
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		(void)recover_say(r, -1, "%s: %s", path, strerror(errno));
	else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		(void)close(fd); /* never written */
		fd = -1;
		(void)recover_say(r, -1,
		    "%s: chanceryd uses this state, or another chancery does. "
		    "Next: stop it first",
		    path);
	}
	free(path);
	return fd;
}

/* One way, and only what belongs to it. */
static bool
is_order(const struct recover_order *o)
{
	if (o->incarnation)
		return o->reason != NULL && o->signer_state == NULL &&
		    !o->moved;
	return (o->from != NULL) + (o->signer_state != NULL) + o->moved == 1 &&
	    o->reason == NULL && o->checkpoint == NULL;
}

static int
run(struct recover *r, json_t **result)
{
	if (r->order->incarnation)
		return recover_incarnation(r, result);
	if (r->order->moved)
		return recover_moved(r, result);
	if (r->order->signer_state != NULL)
		return recover_signer_state(r, result);
	return recover_lossless(r, result);
}

int
recover_run(const struct conf *conf, const struct recover_order *order,
    json_t **result, char *why, size_t why_len)
{
	struct recover r = {
	    .conf = conf, .order = order, .why = why, .why_len = why_len};
	int lock, status = -1;

	*result = NULL;
	if (!is_order(order))
		return recover_say(&r, 2,
		    "say how: --from, --signer-state, --moved, or --new-incarnation "
		    "with --reason");
	lock = lock_state(&r);
	if (lock < 0)
		return 1;
	r.journal_path = conf_state_path(conf, "journal/journal.db");
	r.signer_path = conf_state_path(conf, "signer");
	r.chat_path = conf_state_path(conf, "chat/chat.db");
	if (r.journal_path == NULL || r.signer_path == NULL ||
	    r.chat_path == NULL)
		(void)recover_say(&r, -1, "out of memory");
	else
		status = run(&r, result);
	journal_close(r.journal);
	if (r.rebuilt != NULL && status != 0)
		remove_rebuilt(&r);
	buf_release(&r.closing);
	free(r.rebuilt);
	free(r.journal_path);
	free(r.signer_path);
	free(r.chat_path);
	(void)close(lock); /* never written */
	return status;
}
