#include "server/receipt.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/text.h"

#include "compliance/event.h"
#include "compliance/scan.h"
#include "compliance/tree.h"

struct search {
	const struct receipt_select *select;
	uint64_t size;    /* records when it began */
	uint64_t covered; /* by the newest checkpoint */
	uint64_t unknown; /* purged posts */
	json_t *found;
	bool out_of_memory;
};

static const char *
without_scheme(const char *uri)
{
	return strncasecmp(uri, "sip:", 4) == 0 ? uri + 4 : uri;
}

static const char *
member(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s == NULL ? "" : s;
}

static bool
in_room(const json_t *envelope, const char *wanted)
{
	const char *uri = member(envelope, "room");
	const char *last = strrchr(uri, '/');

	return strcasecmp(uri, wanted) == 0 ||
	    (last != NULL && strcasecmp(last + 1, wanted) == 0) ||
	    strcasecmp(member(envelope, "roomname"), wanted) == 0;
}

static bool
wanted(const struct receipt_select *s, const json_t *envelope)
{
	return strcasecmp(without_scheme(member(envelope, "user")),
		   without_scheme(s->user)) == 0 &&
	    (s->room == NULL || in_room(envelope, s->room)) &&
	    (s->chat == 0 ||
		json_integer_value(json_object_get(envelope, "chat")) ==
		    (json_int_t)s->chat);
}

static void
put_receipt(
    struct search *s, const struct scan_record *record, const json_t *envelope)
{
	uint8_t hash[TREE_HASH_LEN];
	struct buf time, hex;
	json_t *o = NULL;

	buf_init(&time);
	buf_init(&hex);
	tree_leaf_hash(record->leaf.p, record->leaf.n, hash);
	text_put_hex(&hex, hash, sizeof hash);
	text_put_time(&time, record->at);
	if (buf_text(&time) != NULL && buf_text(&hex) != NULL)
		o = json_pack("{s:I,s:s,s:s,s:s,s:s,s:I,s:b}", "seq",
		    (json_int_t)record->seq, "time", buf_text(&time), "hash",
		    buf_text(&hex), "room", member(envelope, "room"),
		    "roomname", member(envelope, "roomname"), "chat",
		    json_integer_value(json_object_get(envelope, "chat")),
		    "signed", record->seq < s->covered);
	if (o == NULL || json_array_append_new(s->found, o) != 0)
		s->out_of_memory = true;
	buf_release(&time);
	buf_release(&hex);
}

static void
take_record(struct search *s, const struct scan_record *record)
{
	json_t *envelope;

	if (record->kind != EVENT_POST)
		return;
	if (record->purged) {
		s->unknown++;
		return;
	}
	envelope = json_loadb((const char *)record->part[0].data.p,
	    record->part[0].data.n, JSON_REJECT_DUPLICATES, NULL);
	if (wanted(s->select, envelope))
		put_receipt(s, record, envelope);
	json_decref(envelope);
}

static int
search(struct search *s, struct scan *scan)
{
	uint64_t since = s->select->since;
	struct scan_record record;
	struct buf note;
	int rc;

	buf_init(&note);
	s->size = scan_size(scan);
	rc = scan_note(scan, &s->covered, &note);
	buf_release(&note);
	if (rc == 0)
		rc = scan_seek(
		    scan, since == 0 ? 0 : scan_find_time(scan, since));
	while (rc == 0 && (rc = scan_next(scan, &record)) == 1) {
		if (record.seq >= s->size)
			return 0;
		take_record(s, &record);
		rc = 0;
	}
	return rc;
}

json_t *
receipt_list(const struct conf *conf, const struct receipt_select *select,
    char *why, size_t why_len)
{
	struct search s = {.select = select, .found = json_array()};
	char *path = conf_state_path(conf, "journal/journal.db");
	struct scan *scan = NULL;
	json_t *result = NULL;

	(void)snprintf(why, why_len, "out of memory");
	if (path != NULL && s.found != NULL)
		scan = scan_open(path, true, why, why_len);
	if (scan != NULL && search(&s, scan) != 0)
		(void)snprintf(why, why_len, "%s", scan_error(scan));
	else if (scan != NULL && s.out_of_memory)
		(void)snprintf(why, why_len, "out of memory");
	else if (scan != NULL)
		result = json_pack("{s:s,s:s,s:I,s:O}", "origin",
		    scan_meta(scan, "origin"), "user", select->user, "unknown",
		    (json_int_t)s.unknown, "receipts", s.found);
	json_decref(s.found);
	scan_close(scan);
	free(path);
	return result;
}
