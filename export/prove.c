#include "export/prove.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#include "compliance/chain.h"
#include "compliance/note.h"
#include "compliance/scan.h"

#include "export/locate.h"
#include "export/outfile.h"

#define EXIT_NOTHING 1
#define EXIT_USAGE 2
#define EXIT_SYSTEM 3
#define HASH 32

struct options {
	const char *conf, *journal, *out, *from;
	uint64_t seq;
	bool without_text;
};

struct proof {
	struct scan *scan;
	uint64_t seq, size;
	struct scan_record record;
	struct buf note, path, keys, extra, text;
};

static const char usage_text[] =
    "usage: chancery-export prove (-f CONF | --journal PATH) [-o FILE]\n"
    "           [--from VKEY] [--without-text] SEQ\n"
    "The proof is for who knows the journal's first key, or VKEY of later.\n"
    "Exit status: 0 written, 1 there is no such signed record or key,\n"
    "2 usage, 3 system.\n";

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
	    {"from", required_argument, NULL, 'F'},
	    {"without-text", no_argument, NULL, 'w'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "f:o:h", names, NULL)) != -1) {
		switch (c) {
		case 'f':
			o->conf = optarg;
			break;
		case 'J':
			o->journal = optarg;
			break;
		case 'o':
			o->out = optarg;
			break;
		case 'F':
			o->from = optarg;
			break;
		case 'w':
			o->without_text = true;
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
	    view_to_u64(view_text(argv[optind]), &o->seq))
		return -1;
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}

/* The newest checkpoint, when it covers the record and fits the tree. */
static int
take_note(struct proof *p)
{
	struct buf left, right;
	struct note note;
	const char *why;
	uint8_t root[HASH];
	int status = 0;

	if (scan_note(p->scan, &p->size, &p->note) != 0)
		return say(EXIT_SYSTEM, scan_error(p->scan));
	if (p->seq >= p->size) {
		fprintf(stderr,
		    "chancery-export: no record %" PRIu64
		    " is signed yet: the newest checkpoint is of %" PRIu64
		    " records\n",
		    p->seq, p->size);
		return EXIT_NOTHING;
	}
	buf_init(&left);
	buf_init(&right);
	if (!note_parse(buf_view(&p->note), &note, &why))
		status = say(EXIT_SYSTEM, why);
	else if (scan_range_proof(p->scan, p->seq, p->seq, p->size, &left,
		     &right, root) != 0)
		status = say(EXIT_SYSTEM, scan_error(p->scan));
	else if (memcmp(root, note.root, HASH) != 0)
		status = say(EXIT_SYSTEM,
		    "the records do not give the signed root: see "
		    "chancery-verify(1)");
	buf_release(&left);
	buf_release(&right);
	return status;
}

static int
take_record(struct proof *p)
{
	int rc = scan_seek(p->scan, p->seq);

	if (rc == 0)
		rc = scan_next(p->scan, &p->record);
	if (rc == 1 && p->record.seq == p->seq)
		return 0;
	return say(EXIT_SYSTEM,
	    rc < 0 ? scan_error(p->scan) : "the record is missing");
}

/* What chancery-journal(5) calls the extra lines of a proof. */
static void
put_extra(struct proof *p, bool without_text)
{
	struct buf *b = &p->extra;
	const struct scan_record *r = &p->record;

	buf_put_text(b, "record/1\nleaf ");
	text_put_base64(b, r->leaf.p, r->leaf.n);
	buf_put_text(b, "\n");
	for (unsigned i = 0; i < r->parts && !r->purged; i++) {
		if (i > 0 && without_text)
			break;
		buf_printf(b, "part %u ", i);
		text_put_base64(b, r->part[i].salt.p, r->part[i].salt.n);
		buf_put_text(b, " ");
		text_put_base64(b, r->part[i].data.p, r->part[i].data.n);
		buf_put_text(b, "\n");
	}
	if (p->keys.len > 0) {
		buf_put_text(b, "keys ");
		text_put_base64(b, p->keys.data, p->keys.len);
		buf_put_text(b, "\n");
	}
}

/* The key chain, when the key that it begins with is not the one that signs. */
static int
take_keys(struct proof *p, const char *from)
{
	struct chain_epoch epoch;
	struct buf vkey;
	int rc;

	buf_init(&vkey);
	rc = chain_epoch(p->scan, p->size, &epoch, &vkey);
	if (rc == 0 &&
	    (from == NULL ? epoch.epoch > 0 : !view_is(buf_view(&vkey), from)))
		rc = chain_put(p->scan, p->size, from, &p->keys);
	buf_release(&vkey);
	if (rc == 0)
		return 0;
	return say(
	    from == NULL ? EXIT_SYSTEM : EXIT_NOTHING, scan_error(p->scan));
}

static void
put_proof(struct proof *p)
{
	struct buf *b = &p->text;

	buf_put_text(b, "c2sp.org/tlog-proof@v1\nextra ");
	text_put_base64(b, p->extra.data, p->extra.len);
	buf_printf(b, "\nindex %" PRIu64 "\n", p->seq);
	for (size_t i = 0; i + HASH <= p->path.len; i += HASH) {
		text_put_base64(b, p->path.data + i, HASH);
		buf_put_text(b, "\n");
	}
	buf_put_text(b, "\n");
	buf_put_view(b, buf_view(&p->note));
}

static int
write_proof(const struct proof *p, const char *path)
{
	struct outfile out;

	if (p->text.failed || p->extra.failed || p->path.failed ||
	    p->keys.failed)
		return say(EXIT_SYSTEM, "out of memory");
	if (outfile_open(&out, path) != 0) {
		fprintf(
		    stderr, "chancery-export: %s: %s\n", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	outfile_put(&out, buf_view(&p->text));
	if (outfile_commit(&out) != 0) {
		fprintf(
		    stderr, "chancery-export: output: %s\n", strerror(errno));
		return EXIT_SYSTEM;
	}
	if (p->record.purged)
		fprintf(stderr,
		    "the payload of record %" PRIu64
		    " was purged: the proof is of its leaf alone\n",
		    p->seq);
	return 0;
}

static int
make_proof(struct proof *p, const char *from, bool without_text)
{
	int status = take_note(p);

	if (status == 0)
		status = take_keys(p, from);
	if (status == 0)
		status = take_record(p);
	if (status != 0)
		return status;
	if (scan_inclusion(p->scan, p->seq, p->size, &p->path) != 0)
		return say(EXIT_SYSTEM, scan_error(p->scan));
	put_extra(p, without_text);
	put_proof(p);
	return 0;
}

static void
release(struct proof *p)
{
	buf_release(&p->note);
	buf_release(&p->path);
	buf_release(&p->keys);
	buf_release(&p->extra);
	buf_release(&p->text);
	scan_close(p->scan);
}

int
prove_put(const char *journal, uint64_t seq, struct buf *out)
{
	struct proof p = {.seq = seq};
	char why[512];
	int status;

	p.scan = scan_open(journal, true, why, sizeof why);
	if (p.scan == NULL)
		return say(EXIT_SYSTEM, why);
	status = make_proof(&p, NULL, false);
	if (status == 0)
		buf_put_view(out, buf_view(&p.text));
	if (p.text.failed || p.extra.failed || out->failed)
		status = say(EXIT_SYSTEM, "out of memory");
	release(&p);
	return status;
}

static int
prove_from(const char *journal, const struct options *o)
{
	struct proof p = {.seq = o->seq};
	char why[512];
	int status;

	p.scan = scan_open(journal, true, why, sizeof why);
	if (p.scan == NULL)
		return say(EXIT_SYSTEM, why);
	status = make_proof(&p, o->from, o->without_text);
	if (status == 0)
		status = write_proof(&p, o->out);
	release(&p);
	return status;
}

int
prove_main(int argc, char **argv)
{
	struct options o = {0};
	char *configured = NULL;
	int status = parse_options(argc, argv, &o);

	if (status >= 0)
		return status;
	if (o.journal == NULL)
		o.journal = configured = locate_journal(o.conf);
	status = o.journal == NULL ? EXIT_USAGE : prove_from(o.journal, &o);
	free(configured);
	return status;
}
