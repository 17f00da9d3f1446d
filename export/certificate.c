#include "export/certificate.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/db.h"
#include "base/text.h"

#include "compliance/leaf.h"
#include "compliance/segments.h"

#include "export/locate.h"
#include "export/outfile.h"
#include "export/prove.h"

#define EXIT_NOTHING 1
#define EXIT_USAGE 2
#define EXIT_SYSTEM 3
#define RECORDS_MAX 1000

struct options {
	const char *conf, *journal, *out;
	bool json;
	uint64_t purge;
};

/* One record that the purge rests on. */
struct basis {
	uint64_t seq;
	char *role; /* "purge", "policy", "ack", "hold" or "approve" */
	struct buf leaf, proof;
};

struct certificate {
	sqlite3 *db;
	const char *journal;
	struct basis basis[RECORDS_MAX];
	size_t count;
};

static const char usage_text[] =
    "usage: chancery-export certificate (-f CONF | --journal PATH) [-o FILE]\n"
    "           [--json] NUMBER\n"
    "Exit status: 0 written, 1 there is no such signed purge, 2 usage,\n"
    "3 system.\n";

static int
say(int status, const char *what)
{
	fprintf(stderr, "chancery-export: %s\n", what);
	return status;
}

/* -1: go on; else the exit status. */
static int
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
	    {"journal", required_argument, NULL, 'J'},
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "f:o:h", names, NULL)) != -1) {
		switch (c) {
		case 'f':
			o->conf = optarg;
			break;
		case 'o':
			o->out = optarg;
			break;
		case 'J':
			o->journal = optarg;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default:
			fputs(usage_text, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind + 1 == argc && (o->conf == NULL) != (o->journal == NULL) &&
	    view_to_u64(view_text(argv[optind]), &o->purge) && o->purge > 0 &&
	    o->purge <= INT64_MAX)
		return -1;
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}

/* ---- what belongs to it ---- */

static struct view
field(const struct basis *b, const char *name)
{
	struct leaf leaf;
	struct view v;
	const char *why;

	return leaf_parse(buf_view(&b->leaf), &leaf, &why) &&
		leaf_field(leaf.fields, name, &v)
	    ? v
	    : view_of(NULL, 0);
}

static int
add(struct certificate *c, uint64_t seq, char *role)
{
	struct basis *b = &c->basis[c->count];
	sqlite3_stmt *s;
	int status = EXIT_SYSTEM;

	for (size_t i = 0; i < c->count; i++)
		if (c->basis[i].seq == seq)
			return 0;
	if (c->count == RECORDS_MAX)
		return say(EXIT_SYSTEM, "too many records belong to it");
	s = db_prepare(c->db, "SELECT bytes FROM leaf WHERE seq = ?");
	if (s == NULL)
		return say(EXIT_SYSTEM, sqlite3_errmsg(c->db));
	b->seq = seq;
	b->role = role;
	c->count++;
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)seq);
	if (db_step(s) == SQLITE_ROW) {
		buf_put(&b->leaf, sqlite3_column_blob(s, 0),
		    (size_t)sqlite3_column_bytes(s, 0));
		status = prove_put(c->journal, seq, &b->proof);
	} else {
		(void)say(status, "a record that it names is missing");
	}
	(void)sqlite3_finalize(s); /* result of the step is known */
	return status;
}

/* Numbers with commas, each perhaps behind a name and a colon. */
static int
add_list(struct certificate *c, struct view list, char *role)
{
	size_t at = 0;

	while (at < list.n) {
		size_t from = at, end = at;
		uint64_t seq;
		int status;

		while (end < list.n && list.p[end] != ',')
			end++;
		for (size_t i = at; i < end; i++)
			if (list.p[i] == ':')
				from = i + 1;
		at = end + 1;
		if (!view_to_u64(view_of(list.p + from, end - from), &seq))
			continue; /* "-" */
		status = add(c, seq, role);
		if (status != 0)
			return status;
	}
	return 0;
}

/* Holds in force when the purge was recorded. */
static int
add_holds(struct certificate *c, uint64_t purge)
{
	static char role[] = "hold";
	sqlite3_stmt *s = db_prepare(c->db,
	    "SELECT seq FROM hold WHERE seq < ?1"
	    " AND (released IS NULL OR released > ?1) ORDER BY n");
	int status = 0;

	if (s == NULL)
		return say(EXIT_SYSTEM, sqlite3_errmsg(c->db));
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)purge);
	while (status == 0 && db_step(s) == SQLITE_ROW)
		status = add(c, (uint64_t)sqlite3_column_int64(s, 0), role);
	(void)sqlite3_finalize(s); /* result of the steps is known */
	return status;
}

static int
gather(struct certificate *c, uint64_t number)
{
	static char purge[] = "purge", policy[] = "policy", ack[] = "ack",
		    hold[] = "hold", approve[] = "approve";
	sqlite3_stmt *s = db_prepare(c->db,
	    "SELECT seq FROM leaf WHERE kind = 131 AND kind >= 128"
	    " ORDER BY seq LIMIT 1 OFFSET ?");
	int step, status = EXIT_SYSTEM;
	uint64_t seq = 0;

	if (s == NULL)
		return say(EXIT_SYSTEM, sqlite3_errmsg(c->db));
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)(number - 1));
	step = db_step(s);
	if (step == SQLITE_ROW)
		seq = (uint64_t)sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s); /* result of the step is known */
	if (step == SQLITE_DONE)
		return say(EXIT_NOTHING, "there is no purge of this number");
	if (step == SQLITE_ROW)
		status = add(c, seq, purge);
	if (status == 0)
		status = add_list(c, field(&c->basis[0], "policy"), policy);
	if (status == 0)
		status = add_list(c, field(&c->basis[0], "acks"), ack);
	if (status == 0)
		status = add_list(c, field(&c->basis[0], "approvals"), approve);
	if (status == 0)
		status = add_list(c, field(&c->basis[0], "hold"), hold);
	return status == 0 ? add_holds(c, seq) : status;
}

/* ---- writing ---- */

/* The leaf line by line, as people may read it. */
static void
put_text(struct buf *b, const struct certificate *c)
{
	buf_put_text(b, "chancery-purge-certificate/1\n");
	for (size_t i = 0; i < c->count; i++) {
		const struct basis *x = &c->basis[i];
		const char *line = (const char *)x->leaf.data;
		const char *end = line + x->leaf.len;

		buf_printf(b, "#\n# %s, record %" PRIu64 "\n", x->role, x->seq);
		while (line < end) {
			const char *lf =
			    memchr(line, '\n', (size_t)(end - line));
			size_t n = (size_t)((lf != NULL ? lf : end) - line);

			buf_printf(b, "#   %.*s\n", (int)n, line);
			line += n + 1;
		}
	}
	buf_put_text(b, "#\n# Proofs; chancery-verify(1) reads these.\n");
	for (size_t i = 0; i < c->count; i++) {
		buf_put_text(b, "\n");
		buf_put_view(b, buf_view(&c->basis[i].proof));
	}
}

static json_t *
record_json(const struct basis *b)
{
	json_t *o =
	    json_pack("{s:s,s:I}", "role", b->role, "seq", (json_int_t)b->seq);
	struct view name, value, fields = {0};
	struct buf text, at;
	struct leaf leaf;
	const char *why;

	buf_init(&text);
	buf_init(&at);
	if (leaf_parse(buf_view(&b->leaf), &leaf, &why)) {
		text_put_time(&at, leaf.head.at);
		(void)json_object_set_new(o, "at",
		    json_stringn((const char *)at.data, at.len)); /* or not */
		fields = leaf.fields;
	}
	while (leaf_next_field(&fields, &name, &value)) {
		char *key = view_dup(name);

		buf_clear(&text);
		if (key != NULL && text_get_token(value, &text))
			(void)json_object_set_new(o, key,
			    json_stringn((const char *)text.data, text.len));
		free(key);
	}
	buf_release(&at);
	buf_release(&text);
	return o;
}

static int
append(const char *text, size_t n, void *out)
{
	buf_put(out, text, n);
	return 0;
}

static void
put_json(struct buf *b, const struct certificate *c)
{
	json_t *records = json_array(), *proofs = json_array(), *o;

	for (size_t i = 0; i < c->count; i++) {
		const struct buf *proof = &c->basis[i].proof;

		(void)json_array_append_new(records, record_json(&c->basis[i]));
		(void)json_array_append_new(proofs,
		    json_stringn((const char *)proof->data, proof->len));
	}
	o = json_pack("{s:s,s:o,s:o}", "certificate",
	    "chancery-purge-certificate/1", "records", records, "proofs",
	    proofs);
	if (o == NULL || json_dump_callback(o, append, b, JSON_INDENT(1)) != 0)
		b->failed = true;
	buf_put_text(b, "\n");
	json_decref(o);
}

static int
write_out(const struct buf *text, const char *path)
{
	struct outfile out;

	if (text->failed)
		return say(EXIT_SYSTEM, "out of memory");
	if (outfile_open(&out, path) != 0)
		return say(EXIT_SYSTEM, strerror(errno));
	outfile_put(&out, buf_view(text));
	return outfile_commit(&out) == 0 ? 0
					 : say(EXIT_SYSTEM, strerror(errno));
}

static int
certify(const struct options *o)
{
	struct certificate *c = calloc(1, sizeof *c);
	char *newest = segments_path(o->journal, segments_newest(o->journal));
	char why[512];
	struct buf text;
	int status = EXIT_SYSTEM;

	buf_init(&text);
	if (c == NULL || newest == NULL) {
		(void)say(status, "out of memory");
		goto done;
	}
	c->journal = o->journal;
	c->db = db_open(newest, DB_READ_COPY, DB_SYNC_FULL, why, sizeof why);
	if (c->db == NULL) {
		(void)say(status, why);
		goto done;
	}
	status = gather(c, o->purge);
	if (status != 0)
		goto done;
	if (o->json)
		put_json(&text, c);
	else
		put_text(&text, c);
	status = write_out(&text, o->out);
done:
	for (size_t i = 0; c != NULL && i < c->count; i++) {
		buf_release(&c->basis[i].leaf);
		buf_release(&c->basis[i].proof);
	}
	if (c != NULL)
		db_close(c->db);
	buf_release(&text);
	free(newest);
	free(c);
	return status;
}

int
certificate_main(int argc, char **argv)
{
	struct options o = {0};
	char *named;
	int status = parse_options(argc, argv, &o);

	if (status >= 0)
		return status;
	if (o.journal == NULL)
		named = locate_journal(o.conf);
	else if ((named = segments_named(o.journal)) == NULL)
		return say(EXIT_SYSTEM, "out of memory");
	o.journal = named;
	status = named == NULL ? EXIT_USAGE : certify(&o);
	free(named);
	return status;
}
