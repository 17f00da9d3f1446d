/* chancery-verify(1): what of the evidence holds, what does not, and where. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/log.h"

#include "export/verify_archive.h"
#include "export/verify_certificate.h"
#include "export/verify_chain.h"
#include "export/verify_cross.h"
#include "export/verify_journal.h"
#include "export/verify_paths.h"
#include "export/verify_proof.h"
#include "export/verify_recover.h"

#define KEY_FILE_MAX 4096
#define NOTE_FILE_MAX 65536
#define CHAIN_FILE_MAX ((size_t)1 << 30)
#define EXIT_NOTHING 1
#define EXIT_USAGE 2
#define EXIT_SYSTEM 3

struct options {
	const char **key;
	size_t keys;
	const char *chain;
	bool json;
	const char **checkpoint;
	size_t checkpoints;
	const char **witness;
	size_t witnesses;
};

struct work {
	struct verify_report *report;
	struct verify_paths paths;
	struct verify_key *key; /* each leads to the next */
	size_t keys;
	struct verify_trust trust;
	struct verify_archive *archive;
	size_t archives;
	struct verify_outside *outside;
	size_t outsides;
	struct verify_journal *journal;
	size_t journals;
};

static const char usage_text[] =
    "usage: chancery-verify [--key VKEY]... [--keys CHAIN] "
    "[--checkpoint NOTE]...\n"
    "                       [--witness VKEY]... [--json] PATH...\n"
    "PATH is a file of a journal, an archive of the tarball or xml adapter,\n"
    "a proof, a purge certificate, or a folder.\n"
    "VKEY is the journal's first public key, or a file that holds it.\n"
    "CHAIN is a file that leads from it to the keys of later epochs.\n"
    "VKEY of --witness is the key of a witness.\n"
    "NOTE is a file with a checkpoint obtained from outside.\n"
    "Exit status: 0 all holds, 1 something does not, 2 usage, 3 system.\n";

static bool
read_key(struct work *w, const char *text)
{
	struct verify_key *key = &w->key[w->keys];
	struct buf file;
	const char *why = "";
	bool ok = verify_key_parse(view_text(text), key, &why);

	if (!ok) {
		buf_init(&file);
		if (file_read(text, KEY_FILE_MAX, &file) == 0)
			ok = verify_key_line(buf_view(&file), key, &why);
		else if (strchr(text, '+') == NULL)
			why = "neither a key nor a file that can be read";
		buf_release(&file);
	}
	if (!ok)
		fprintf(stderr, "chancery-verify: --key: %s: %s\n", text, why);
	if (ok && w->keys > 0)
		w->key[w->keys - 1].more = key;
	w->keys += ok;
	return ok;
}

static bool
read_keys(struct work *w, const struct options *o)
{
	w->key = calloc(o->keys + 1, sizeof(*w->key));
	if (w->key == NULL)
		log_fatal("out of memory");
	for (size_t i = 0; i < o->keys; i++)
		if (!read_key(w, o->key[i]))
			return false;
	return true;
}

static bool
trust_witnesses(const struct options *o)
{
	const char *why;

	for (size_t i = 0; i < o->witnesses; i++) {
		if (verify_anchors_trust(view_text(o->witness[i]), &why))
			continue;
		fprintf(stderr, "chancery-verify: --witness: %s\n", why);
		return false;
	}
	return true;
}

/* What the report of a run that comes to nothing says, too. */
static int
fail(struct work *w, const char *path, const char *why, int status)
{
	fprintf(stderr, "chancery-verify: %s: %s\n", path, why);
	verify_report_begin(w->report, path, "unknown");
	if (status == EXIT_NOTHING)
		verify_report_finding(
		    w->report, VERIFY_FILE, verify_nowhere(), "%s", why);
	else
		verify_report_failure(w->report, "%s", why);
	return status;
}

/*
 * What --keys names is proved from --key, or it is refused. -1, or the exit
 * status.
 */
static int
read_chain(struct work *w, const char *path)
{
	const char *why;
	struct buf text;
	unsigned line = 1;
	bool ok = false;

	buf_init(&text);
	if (file_read(path, CHAIN_FILE_MAX, &text) != 0) {
		(void)fail(w, path, strerror(errno), EXIT_SYSTEM);
		return EXIT_SYSTEM;
	}
	ok = verify_chain_parse(buf_view(&text), w->key,
	    &w->trust.chain[w->trust.chains], &line, &why);
	buf_release(&text);
	if (!ok) {
		fprintf(stderr, "chancery-verify: %s: line %u: %s\n", path,
		    line, why);
		return EXIT_NOTHING;
	}
	w->trust.chains++;
	return -1;
}

/* A checkpoint joins those that the archives carry. */
static bool
read_checkpoint(struct work *w, const char *path)
{
	struct verify_outside *o = &w->outside[w->outsides];
	struct verify_note note;
	const char *why;
	unsigned line;

	buf_init(&o->text);
	w->outsides++;
	if (file_read(path, NOTE_FILE_MAX, &o->text) != 0) {
		(void)fail(w, path, strerror(errno), EXIT_SYSTEM);
		return false;
	}
	o->path = path;
	verify_report_begin(w->report, path, "checkpoint");
	verify_report_count(w->report, VERIFY_FILE, 1);
	if (!verify_note_parse(buf_view(&o->text), &note, &line, &why)) {
		verify_report_finding(w->report, VERIFY_FILE,
		    (struct verify_place){
			VERIFY_NO_SEQ, VERIFY_NO_SEQ, -1, line},
		    "%s", why);
		w->outsides--;
		buf_release(&o->text);
		return true;
	}
	verify_report_fact(
	    w->report, "size", "%llu", (unsigned long long)note.size);
	memcpy(o->origin, note.origin.p, note.origin.n);
	o->size = note.size;
	memcpy(o->root, note.root, 32);
	return true;
}

/* -1 when there is something to verify, else the exit status. */
static int
gather(struct work *w, const struct options *o, char **paths, int count)
{
	int status;

	for (int i = 0; i < count; i++) {
		if (!verify_paths_add(&w->paths, paths[i]))
			return fail(w, paths[i], strerror(errno), EXIT_SYSTEM);
	}
	if (!verify_paths_sort(&w->paths)) {
		fprintf(stderr, "chancery-verify: out of memory\n");
		return EXIT_SYSTEM;
	}
	if (w->paths.count == 0 && o->checkpoints == 0)
		return fail(w, paths[0], "no journal and no archive found",
		    EXIT_NOTHING);
	w->archive = calloc(w->paths.count + 1, sizeof(*w->archive));
	w->journal = calloc(w->paths.count + 1, sizeof(*w->journal));
	w->outside =
	    calloc(w->paths.count + o->checkpoints + 1, sizeof(*w->outside));
	w->trust.given = w->keys > 0 ? w->key : NULL;
	w->trust.chain = calloc(w->paths.count + 1, sizeof(*w->trust.chain));
	if (w->archive == NULL || w->journal == NULL || w->outside == NULL ||
	    w->trust.chain == NULL) {
		fprintf(stderr, "chancery-verify: out of memory\n");
		return EXIT_SYSTEM;
	}
	status = o->chain != NULL ? read_chain(w, o->chain) : -1;
	for (size_t i = 0; i < o->checkpoints && status < 0; i++)
		if (!read_checkpoint(w, o->checkpoint[i]))
			status = EXIT_SYSTEM;
	return status;
}

/* The checkpoint that an archive carries is one from outside the journal. */
static void
lend_checkpoint(struct work *w, const struct verify_archive *a)
{
	struct verify_outside *o = &w->outside[w->outsides];

	if (a->note.len == 0)
		return;
	buf_init(&o->text);
	buf_put_view(&o->text, buf_view(&a->note));
	o->path = a->path;
	memcpy(o->origin, a->origin, sizeof(o->origin));
	o->size = a->size;
	memcpy(o->root, a->root, 32);
	w->outsides++;
}

/* The journal whose files begin with the i-th input; how many they are. */
static size_t
verify_journal(struct work *w, size_t i)
{
	const struct verify_input *in = w->paths.input;
	struct verify_group g = {.whole = in[i].found};
	const char **path = calloc(w->paths.count, sizeof(*path));

	if (path == NULL)
		log_fatal("out of memory");
	while (i + g.count < w->paths.count &&
	    in[i + g.count].group == in[i].group) {
		path[g.count] = in[i + g.count].path;
		g.count++;
	}
	g.path = path;
	verify_journal_run(&g, w->keys > 0 ? w->key : NULL, w->outside,
	    w->outsides, w->report, &w->journal[w->journals++]);
	free(path);
	return g.count;
}

static bool
keys_of(struct work *w, const struct verify_input *in, struct verify_chain *out)
{
	if (in->type == VERIFY_TYPE_JOURNAL)
		return verify_journal_keys(in->path, out);
	return in->type == VERIFY_TYPE_CERTIFICATE &&
	    verify_certificate_keys(in->path, w->trust.given, out);
}

/* Archives come first, but others know the keys to judge them by. */
static void
read_their_keys(struct work *w)
{
	const struct verify_input *in = w->paths.input;
	size_t archives = 0;

	for (size_t i = 0; i < w->paths.count; i++)
		archives += in[i].type == VERIFY_TYPE_BAG ||
		    in[i].type == VERIFY_TYPE_XML;
	for (size_t i = 0; archives > 0 && i < w->paths.count; i++)
		if (keys_of(w, &in[i], &w->trust.chain[w->trust.chains]))
			w->trust.chains++;
}

/* What was given to be compared, and is of none of the journals given. */
static void
find_unused(struct work *w, size_t checkpoints)
{
	for (size_t i = 0; i < checkpoints; i++) {
		const struct verify_outside *o = &w->outside[i];
		size_t k = 0, name;

		/* One without a name could not be read, as is said. */
		while (k < w->journals &&
		    w->journal[k].control.origin != NULL &&
		    !verify_recover_of_origin(
			&w->journal[k].control, o->origin, &name))
			k++;
		if (k < w->journals)
			continue;
		verify_report_begin(w->report, o->path, "checkpoint");
		verify_report_finding(w->report, VERIFY_SIGNATURES,
		    verify_nowhere(),
		    "no journal of its name was given: it is compared with "
		    "nothing");
	}
}

static void
verify_all(struct work *w)
{
	const struct verify_key *key = w->trust.given;
	size_t checkpoints = w->outsides;

	read_their_keys(w);
	for (size_t i = 0; i < w->paths.count; i++) {
		const struct verify_input *in = &w->paths.input[i];
		struct verify_archive *a = &w->archive[w->archives];

		switch (in->type) {
		case VERIFY_TYPE_JOURNAL:
			i += verify_journal(w, i) - 1;
			break;
		case VERIFY_TYPE_BAG:
		case VERIFY_TYPE_XML:
			verify_archive_run(in->path,
			    in->type == VERIFY_TYPE_BAG, &w->trust, w->report,
			    a);
			lend_checkpoint(w, a);
			w->archives++;
			break;
		case VERIFY_TYPE_PROOF:
			verify_proof_run(in->path, key, w->report);
			break;
		case VERIFY_TYPE_CERTIFICATE:
			verify_certificate_run(
			    in->path, key, w->archive, w->archives, w->report);
			break;
		case VERIFY_TYPE_UNKNOWN:
			verify_report_begin(w->report, in->path, "unknown");
			verify_report_finding(w->report, VERIFY_FILE,
			    verify_nowhere(),
			    "neither a journal nor an archive");
			break;
		}
	}
	for (size_t i = 0; i < w->journals; i++)
		if (w->archives > 0)
			verify_cross(
			    &w->journal[i], w->archive, w->archives, w->report);
	find_unused(w, checkpoints);
}

static int
print_report(const struct work *w, bool json)
{
	int status = verify_report_status(w->report);
	struct buf out;

	buf_init(&out);
	if (json && !verify_report_json(w->report, &out))
		status = EXIT_SYSTEM;
	if (!json)
		verify_report_text(w->report, &out);
	if (out.failed || fwrite(out.data, 1, out.len, stdout) != out.len ||
	    fflush(stdout) != 0) {
		fprintf(stderr, "chancery-verify: cannot write the report\n");
		status = EXIT_SYSTEM;
	}
	buf_release(&out);
	return status;
}

static void
release(struct work *w)
{
	for (size_t i = 0; i < w->journals; i++)
		verify_journal_release(&w->journal[i]);
	for (size_t i = 0; i < w->archives; i++)
		verify_archive_release(&w->archive[i]);
	for (size_t i = 0; i < w->outsides; i++)
		buf_release(&w->outside[i].text);
	free(w->key);
	for (size_t i = 0; i < w->trust.chains; i++)
		verify_chain_release(&w->trust.chain[i]);
	free(w->trust.chain);
	free(w->journal);
	free(w->archive);
	free(w->outside);
	verify_paths_release(&w->paths);
	verify_report_free(w->report);
}

/* -1: go on; else the exit status. */
static int
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
	    {"key", required_argument, NULL, 'k'},
	    {"keys", required_argument, NULL, 'K'},
	    {"checkpoint", required_argument, NULL, 'c'},
	    {"witness", required_argument, NULL, 'w'},
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	int c;

	while (
	    (c = getopt_long(argc, argv, "k:K:c:w:jhV", names, NULL)) != -1) {
		switch (c) {
		case 'k':
			o->key[o->keys++] = optarg;
			break;
		case 'K':
			o->chain = optarg;
			break;
		case 'c':
			o->checkpoint[o->checkpoints++] = optarg;
			break;
		case 'w':
			o->witness[o->witnesses++] = optarg;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		case 'V':
			puts("chancery-verify " CHANCERY_VERSION);
			return 0;
		default:
			fputs(usage_text, stderr);
			return EXIT_USAGE;
		}
	}
	if (o->chain != NULL && o->keys == 0) {
		fprintf(stderr,
		    "chancery-verify: --keys needs --key, where the chain "
		    "begins\n");
		return EXIT_USAGE;
	}
	if (optind < argc)
		return -1;
	fputs("chancery-verify: a path is missing\n", stderr);
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}

int
main(int argc, char **argv)
{
	struct options o = {0};
	struct work w = {0};
	int status;

	log_init("chancery-verify", LOG_LEVEL_WARN);
	o.checkpoint = calloc((size_t)argc, sizeof(*o.checkpoint));
	o.key = calloc((size_t)argc, sizeof(*o.key));
	o.witness = calloc((size_t)argc, sizeof(*o.witness));
	w.report = verify_report_new();
	if (o.checkpoint == NULL || o.key == NULL || o.witness == NULL ||
	    w.report == NULL)
		log_fatal("out of memory");
	status = parse_options(argc, argv, &o);
	if (status < 0) {
		crypto_init();
		if (isatty(STDERR_FILENO))
			verify_report_show_progress(w.report, stderr);
		if (!read_keys(&w, &o) || !trust_witnesses(&o))
			status = EXIT_USAGE;
		else
			status = gather(&w, &o, argv + optind, argc - optind);
	}
	if (status < 0) {
		verify_all(&w);
		status = print_report(&w, o.json);
	} else if (o.json &&
	    (status == EXIT_NOTHING || status == EXIT_SYSTEM)) {
		(void)print_report(&w, true);
	}
	release(&w);
	free(o.checkpoint);
	free(o.key);
	free(o.witness);
	return status;
}
