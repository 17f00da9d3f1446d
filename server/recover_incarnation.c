#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/text.h"
#include "compliance/conflict.h"
#include "compliance/event.h"
#include "compliance/note.h"
#include "compliance/scan.h"
#include "compliance/signer.h"
#include "compliance/tree.h"
#include "server/recover_state.h"
#include "server/store_recover.h"

/*
 * The journal goes on, under a new name and with new keys, and says so. Each
 * step may be the last before a crash: the chat store is cut back, the new
 * signer is made beside the old one, the record is appended, and only then
 * the two folders change places. Called again, it goes on.
 */

#define ORIGIN_MAX 256
#define DIGITS 8

struct turn {
	struct recover *r;
	char *fresh; /* folder of the new signer */
	char *kept;  /* and of the old one */
	char old[ORIGIN_MAX], origin[ORIGIN_MAX], vkey[512];
	/* What had been signed, as far as that is known. */
	bool known;
	uint64_t size;
	uint8_t root[32];
	uint64_t first; /* number of the recover record */
	bool whole;     /* the sources held all that was signed */
	uint64_t recovered;
	struct store_cut cut;
	char by[32];
};

static bool
is_reason(const char *reason)
{
	static const char *const words[] = {
	    "lost", "signer", "fork", "compromise"};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (reason != NULL && strcmp(reason, words[i]) == 0)
			return true;
	return false;
}

/* ---- what was signed ---- */

static void
learn(struct turn *t, uint64_t size, const uint8_t root[32])
{
	if (t->known && size <= t->size)
		return;
	t->known = true;
	t->size = size;
	memcpy(t->root, root, 32);
}

/* The other history that a witness proved, as a conflict record tells. */
static int
learn_conflict(struct turn *t)
{
	struct recover *r = t->r;
	struct buf text;
	struct note note;
	const char *why;
	uint64_t seq;
	int standing;

	buf_init(&text);
	standing = conflict_standing(r->journal, &seq, &text);
	if (standing == 1 && note_parse(buf_view(&text), &note, &why)) {
		/* Of a fork, however long our own history is. */
		if (strcmp(r->order->reason, "fork") == 0 &&
		    note.size <= journal_size(r->journal))
			t->known = false;
		learn(t, note.size, note.root);
	}
	buf_release(&text);
	return standing < 0 ? recover_say(r, -1, "%s: %s", r->journal_path,
				  journal_error(r->journal))
			    : 0;
}

static int
gather(struct turn *t)
{
	struct recover *r = t->r;
	uint64_t size = journal_signed_size(r->journal);
	uint8_t root[32];
	struct buf text;
	int result = 0;

	if (r->signer.state && strcmp(r->signer.origin, t->old) == 0)
		learn(t, r->signer.size, r->signer.root);
	/* In a fork the other history is the one to be declared. */
	if (strcmp(r->order->reason, "fork") != 0 && size > 0 &&
	    journal_root_at(r->journal, size, root) == 0)
		learn(t, size, root);
	if (result == 0)
		result = learn_conflict(t);
	if (result == 0 && r->order->checkpoint != NULL) {
		buf_init(&text);
		result = recover_read_note(
		    r, r->order->checkpoint, &text, &size, root);
		if (result == 0)
			learn(t, size, root);
		buf_release(&text);
	}
	if (!t->known)
		tree_empty_root(t->root);
	return result;
}

/* 1: the journal gives what was signed; 0: it does not; -1. */
static int
agrees(struct turn *t)
{
	uint8_t root[32];

	if (t->size > journal_size(t->r->journal))
		return 0;
	if (journal_root_at(t->r->journal, t->size, root) != 0)
		return -1;
	return memcmp(root, t->root, sizeof root) == 0;
}

/* Whether the reason given is the one that is found. */
static int
judge(struct turn *t)
{
	struct recover *r = t->r;
	const char *reason = r->order->reason;
	bool behind = t->size > journal_size(r->journal);
	int same = agrees(t);

	if (same < 0)
		return recover_say(r, -1, "%s: %s", r->journal_path,
		    journal_error(r->journal));
	if (strcmp(reason, "lost") == 0 && !behind)
		return recover_say(r, 1,
		    "no record is known to be lost: the journal holds %" PRIu64
		    ", and %" PRIu64 " were signed. Nothing was changed. When "
		    "the signer's state is gone as well, give the newest "
		    "checkpoint that anybody holds by --checkpoint",
		    journal_size(r->journal), t->size);
	if (strcmp(reason, "fork") == 0 && (behind || same))
		return recover_say(r, 1,
		    "there is no fork: the journal %s. Nothing was changed",
		    behind ? "lacks records (--reason lost)"
			   : "gives the root that was signed");
	if (strcmp(reason, "signer") == 0 && behind)
		return recover_say(r, 1,
		    "records are lost as well: the journal holds %" PRIu64
		    ", and %" PRIu64 " were signed. Nothing was changed. "
		    "Next: --reason lost",
		    journal_size(r->journal), t->size);
	return 0;
}

/* The record of the new name needs a file whose first record is signed. */
static int
check_file(struct turn *t)
{
	struct journal *j = t->r->journal;

	if (!journal_sealed(j))
		return 0;
	return recover_say(t->r, 1,
	    "%s: the newest file is sealed, and of the one after it nothing is "
	    "known. Nothing was changed. Next: move the journal's files aside, "
	    "and give them, with archives and copies, by --from: the journal "
	    "then goes on in the place of the seal record, or behind what is "
	    "found",
	    t->r->journal_path);
}

/* ---- the steps ---- */

static int
cut_chat_back(struct turn *t)
{
	struct recover *r = t->r;
	struct scan *scan = NULL;
	struct store *store;
	int result = -1;

	store = store_open(r->chat_path, r->why, r->why_len);
	if (store == NULL)
		return -1;
	scan = scan_open(r->rebuilt != NULL ? r->rebuilt : r->journal_path,
	    false, r->why, r->why_len);
	if (scan != NULL)
		result = store_cut_back(
		    store, scan, t->by, &t->cut, r->why, r->why_len);
	scan_close(scan);
	store_close(store);
	return result;
}

/* The new name: the old one's domain and eight digits of its own. */
static int
choose_origin(struct turn *t)
{
	const char *slash = strrchr(t->old, '/');
	uint8_t random[DIGITS / 2];
	struct buf hex;

	if (slash == NULL || strlen(slash + 1) != DIGITS)
		return recover_say(
		    t->r, 1, "%s: not an origin of ours", t->old);
	buf_init(&hex);
	crypto_random(random, sizeof random);
	text_put_hex(&hex, random, sizeof random);
	(void)snprintf(t->origin, sizeof t->origin, "%.*s%s",
	    (int)(slash + 1 - t->old), t->old, buf_text(&hex));
	buf_release(&hex);
	return 0;
}

static const char *const signer_files[] = {
    "key", "next", "after", "closing", "state"};
#define SIGNER_FILES (sizeof signer_files / sizeof signer_files[0])

/* What a try that was interrupted left; its key never signed anything. */
static int
clear_fresh(struct turn *t)
{
	for (size_t i = 0; i < SIGNER_FILES; i++) {
		char *path = file_join(t->fresh, signer_files[i]);

		if (path != NULL)
			(void)unlink(path); /* what stays is told by mkdir */
		free(path);
	}
	if (rmdir(t->fresh) != 0 && errno != ENOENT)
		return recover_say(
		    t->r, -1, "%s: %s", t->fresh, strerror(errno));
	return 0;
}

static int
give_fresh(struct turn *t)
{
	const char *user = t->r->conf->user_signer;

	for (size_t i = 0; i < SIGNER_FILES; i++) {
		char *path = file_join(t->fresh, signer_files[i]);
		int r = 0;

		if (path == NULL)
			return recover_say(t->r, -1, "out of memory");
		if (access(path, F_OK) == 0)
			r = recover_give(t->r, path, user, NULL, 0600);
		free(path);
		if (r != 0)
			return r;
	}
	return recover_give(t->r, t->fresh, user, NULL, 0700);
}

/*
 * Digest of the key that the newest record of a key announces; "-" when all
 * keys of the old folder are in other hands.
 */
static void
announced(struct turn *t, char out[2 * CRYPTO_SHA256_LEN + 1])
{
	static const unsigned kinds[] = {EVENT_OPEN, EVENT_KEY, EVENT_RECOVER};
	uint64_t newest = 0, seq;
	struct buf fields;

	(void)snprintf(out, 2, "-");
	if (strcmp(t->r->order->reason, "compromise") == 0)
		return;
	buf_init(&fields);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		char *next;

		buf_clear(&fields);
		if (journal_fields_before(t->r->journal, kinds[i],
			kinds[i] == EVENT_OPEN ? 1 : INT64_MAX, &seq,
			&fields) != 1 ||
		    seq < newest)
			continue;
		newest = seq;
		next = leaf_field_dup(buf_view(&fields), "next");
		if (next != NULL && strlen(next) == 2 * CRYPTO_SHA256_LEN)
			memcpy(out, next, 2 * CRYPTO_SHA256_LEN + 1);
		free(next);
	}
	buf_release(&fields);
}

static int
make_signer(struct turn *t)
{
	struct recover *r = t->r;
	char next[2 * CRYPTO_SHA256_LEN + 1];
	struct buf vkey;
	int result = choose_origin(t);

	if (result == 0)
		result = clear_fresh(t);
	if (result != 0)
		return result;
	if (mkdir(t->fresh, 0700) != 0)
		return recover_say(r, -1, "%s: %s", t->fresh, strerror(errno));
	buf_init(&vkey);
	announced(t, next);
	result = signer_follow(t->fresh, t->origin, r->signer_path, next, &vkey,
	    r->why, r->why_len);
	if (result == 0 && buf_text(&vkey) != NULL)
		(void)snprintf(t->vkey, sizeof t->vkey, "%s", buf_text(&vkey));
	buf_release(&vkey);
	if (result == 0)
		result = give_fresh(t);
	return result == 0 ? 0 : -1;
}

static int
append_record(struct turn *t)
{
	struct recover *r = t->r;
	struct journal_event e = {.kind = EVENT_RECOVER};
	char next[2 * CRYPTO_SHA256_LEN + 1];
	struct buf fields, root;
	int result = -1;

	buf_init(&fields);
	buf_init(&root);
	signer_look_next(t->fresh, next);
	text_put_base64(&root, t->root, sizeof t->root);
	leaf_put_field(&fields, "old", view_text(t->old));
	leaf_put_number(&fields, "size", t->size);
	leaf_put_field(&fields, "root", buf_view(&root));
	leaf_put_field(&fields, "origin", view_text(t->origin));
	leaf_put_field(&fields, "vkey", view_text(t->vkey));
	leaf_put_field(&fields, "next", view_text(next));
	leaf_put_field(&fields, "reason", view_text(r->order->reason));
	leaf_put_field(&fields, "by", view_text(t->by));
	e.fields = buf_view(&fields);
	if (root.failed || fields.failed)
		(void)recover_say(r, -1, "out of memory");
	else if (journal_append(r->journal, &e, 1) != 0)
		(void)recover_say(r, -1, "%s: %s", r->journal_path,
		    journal_error(r->journal));
	else
		result = 0;
	t->first = e.seq;
	buf_release(&root);
	buf_release(&fields);
	return result;
}

static int
change_places(struct turn *t)
{
	struct recover *r = t->r;

	if ((rename(r->signer_path, t->kept) != 0 && errno != ENOENT) ||
	    rename(t->fresh, r->signer_path) != 0 ||
	    file_sync_parent(r->signer_path) != 0)
		return recover_say(r, -1,
		    "%s: %s. The record is made: call this command again",
		    r->signer_path, strerror(errno));
	return 0;
}

/* ---- all of it ---- */

/* 1: all that was signed came back, and nothing else needs to be done. */
static int
take_sources(struct turn *t, struct recover_source *source)
{
	struct journal_import import = {.size = t->size, .partial = true};
	int result;

	if (source == NULL)
		return 0;
	if (strcmp(t->r->order->reason, "fork") == 0)
		return recover_say(
		    t->r, 1, "sources cannot mend a fork: leave --from out");
	memcpy(import.root, t->root, sizeof import.root);
	result = recover_import(t->r, source, &import);
	t->recovered = import.appended;
	t->whole = result == 0 && agrees(t) == 1 &&
	    strcmp(t->r->order->reason, "lost") == 0;
	return result;
}

static json_t *
tell(const struct turn *t)
{
	uint64_t lost = t->size > t->first ? t->size - t->first : 0;
	json_t *o =
	    json_pack("{s:I,s:I,s:I}", "recovered", (json_int_t)t->recovered,
		"size", (json_int_t)(t->whole ? t->size : t->first), "signed",
		(json_int_t)t->size);

	if (t->whole)
		return o;
	(void)json_object_update_new(o,
	    json_pack("{s:s,s:s,s:s,s:I,s:s,s:I,s:I}", "old", t->old, "origin",
		t->origin, "vkey", t->vkey, "lost", (json_int_t)lost, "kept",
		t->kept, "messages", (json_int_t)t->cut.messages, "again",
		(json_int_t)t->cut.again));
	return o;
}

/* A record that was appended before, and whose folders are to change. */
static bool
is_under_way(struct turn *t)
{
	struct signer_seen fresh;
	char why[256];

	return signer_look(t->fresh, &fresh, why, sizeof why) == 0 &&
	    fresh.key && strcmp(fresh.vkey, journal_vkey(t->r->journal)) == 0;
}

static int
go_on(struct turn *t)
{
	struct recover *r = t->r;
	const char *digits;

	(void)snprintf(
	    t->origin, sizeof t->origin, "%s", journal_origin(r->journal));
	(void)snprintf(t->vkey, sizeof t->vkey, "%s", journal_vkey(r->journal));
	t->first = journal_size(r->journal) - 1;
	digits = strrchr(r->signer.origin, '/');
	(void)snprintf(t->old, sizeof t->old, "%s",
	    digits != NULL ? r->signer.origin : "/unknown");
	return 0;
}

static int
name_folders(struct turn *t)
{
	const char *digits = strrchr(t->old, '/');

	if (asprintf(&t->kept, "%s.old-%s", t->r->signer_path,
		digits != NULL ? digits + 1 : "unknown") < 0) {
		t->kept = NULL;
		return recover_say(t->r, -1, "out of memory");
	}
	return 0;
}

static int
turn(struct turn *t, struct recover_source *source)
{
	struct recover *r = t->r;
	int result = recover_open_journal(r, source);

	if (result != 0)
		return result;
	if (is_under_way(t)) {
		result = go_on(t);
		if (result == 0)
			result = name_folders(t);
		return result == 0 ? change_places(t) : result;
	}
	/* A journal that is made anew takes its present name from a record. */
	(void)snprintf(t->old, sizeof t->old, "%s",
	    r->rebuilt != NULL && r->signer.state ? r->signer.origin
						  : journal_origin(r->journal));
	result = gather(t);
	if (result == 0)
		result = take_sources(t, source);
	if (result == 0 && strcmp(t->old, journal_origin(r->journal)) != 0)
		return recover_check_identity(r);
	if (result == 0 && t->whole)
		return recover_finish_journal(r);
	if (result == 0)
		result = judge(t);
	if (result == 0)
		result = check_file(t);
	if (result == 0)
		result = name_folders(t);
	if (result == 0)
		result = cut_chat_back(t);
	if (result == 0)
		result = make_signer(t);
	if (result == 0)
		result = append_record(t);
	if (result == 0)
		result = recover_finish_journal(r);
	if (result == 0)
		result = change_places(t);
	return result;
}

int
recover_incarnation(struct recover *r, json_t **result)
{
	struct turn t = {.r = r};
	struct recover_source *source = NULL;
	int status = -1;

	if (!is_reason(r->order->reason))
		return recover_say(r, 2,
		    "a reason is needed: lost, signer, fork or compromise");
	/* A folder that cannot be understood is one of the reasons. */
	if (signer_look(r->signer_path, &r->signer, r->why, r->why_len) != 0 &&
	    strcmp(r->order->reason, "signer") != 0)
		return -1;
	if (r->order->from != NULL) {
		source = recover_source_open(
		    r->order->from, r->order->progress, r->why, r->why_len);
		if (source == NULL)
			return -1;
	}
	(void)snprintf(t.by, sizeof t.by, "uid:%u", (unsigned)getuid());
	if (asprintf(&t.fresh, "%s.new", r->signer_path) < 0) {
		t.fresh = NULL;
		(void)recover_say(r, -1, "out of memory");
	} else {
		status = turn(&t, source);
	}
	if (status == 0)
		*result = tell(&t);
	recover_source_close(source);
	free(t.fresh);
	free(t.kept);
	return status;
}
