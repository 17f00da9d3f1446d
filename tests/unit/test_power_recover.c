#include "tests/unit/power_names.h"
#include "tests/unit/segments_fixture.h"
#include "tests/unit/verify_once.h"

#include "compliance/signer_look.h"

#include "export/evidence.h"
#include "export/verify_journal.h"

#include "server/recover.h"

/*
 * chancery recover --from on a disk that loses power or fails at any
 * operation: of a journal that is made anew in two files, and of one whose
 * last records are lost. Afterwards there are all records or those from
 * before, and the same command, or its advice, leads to all of them.
 * CHANCERY_SEED varies what a cut loses.
 */

#define USUAL 31 /* operations from one that the suite takes to the next */
#define FULL 256 /* records of the first file */
#define SOME 270 /* records of the older copy */
#define ALL 300
#define FILES 2
#define CUT 0 /* and no failure */

struct part {
	bool older; /* a copy with the first records is there */
	struct buf file[FILES];
};

static uint64_t seed;
static struct fixture source; /* its folder holds all else, too */
static struct conf *conf;
static char folder[80]; /* of the journal that is recovered */
static char lines[80];
static uint8_t root[32];
static struct part anew, tail = {.older = true};

static char *
file_of(const char *first, unsigned segment)
{
	char *path = segments_path(first, segment);

	assert_non_null(path);
	return path;
}

static char *
target(unsigned segment)
{
	char first[96];

	(void)snprintf(first, sizeof first, "%s/journal.db", folder);
	return file_of(first, segment);
}

/* ---- what is recovered ---- */

static void
empty_folder(void)
{
	DIR *d = opendir(folder);
	const struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' || e->d_name[1] == 'k')
			assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
	(void)closedir(d); /* only read from */
}

static void
lay_out(const struct part *p)
{
	empty_folder();
	for (unsigned i = 0; p->older && i < FILES; i++) {
		char *path = target(i);

		assert_int_equal(
		    file_create(path, buf_view(&p->file[i]), 0600), 0);
		free(path);
	}
}

static int
recover(char *why, size_t why_len)
{
	const struct recover_order order = {.from = lines};
	json_t *result;
	int r = recover_run(conf, &order, &result, why, why_len);

	json_decref(result);
	return r;
}

/* All of the journal, or the older copy as it was, or nothing in its place. */
static void
check_rests(const struct part *p, const char *when)
{
	char *first = target(0), why[256] = "";
	struct journal *j;
	uint64_t size;

	if (access(first, F_OK) != 0) {
		assert_false(p->older);
		free(first);
		return;
	}
	j = journal_open(first, why, sizeof why);
	if (j == NULL)
		fail_msg("%s: %s", when, why);
	size = journal_size(j);
	if (size != ALL && !(p->older && size == SOME))
		fail_msg("%s: %u records are there", when, (unsigned)size);
	journal_close(j);
	free(first);
}

static void
move_aside(const char *first, const char *suffix)
{
	char path[128];

	(void)snprintf(path, sizeof path, "%s%s", first, suffix);
	(void)unlink(path); /* the test needs it no more */
}

/* As the messages say. */
static void
recover_again(const char *when)
{
	char why[1024] = "", *first = target(0), *later = target(1);
	int r = recover(why, sizeof why);

	if (r == 1 && strstr(why, "a later file of the journal is") != NULL) {
		move_aside(later, "");
		r = recover(why, sizeof why);
	}
	if (r == 1 && strstr(why, "it is there without its data") != NULL) {
		move_aside(first, "-wal");
		r = recover(why, sizeof why);
	}
	if (r != 0)
		fail_msg("%s: %s", when, why);
	free(first);
	free(later);
}

static void
check_all_there(const char *when)
{
	char *path[FILES] = {target(0), target(1)}, why[256] = "";
	struct verify_report *report = verify_report_new();
	struct fixture f = {.key = source.key};
	struct verify_journal verified;
	struct verify_key key;
	const char *reason;
	uint8_t is[32];

	f.j = journal_open(path[0], why, sizeof why);
	if (f.j == NULL)
		fail_msg("%s: %s", when, why);
	assert_int_equal(journal_size(f.j), ALL);
	journal_root(f.j, is);
	assert_memory_equal(is, root, sizeof root);
	append_posts(&f, 3);
	sign_head(&f, true);
	journal_close(f.j);
	assert_true(verify_key_parse(view_text(source.vkey), &key, &reason));
	verify_journal_run(
	    &(const struct verify_group){(const char **)path, FILES, true},
	    &key, NULL, 0, report, &verified);
	if (verify_report_status(report) != 0) {
		struct buf text;

		buf_init(&text);
		verify_report_text(report, &text);
		fail_msg("%s: %s", when, buf_text(&text));
	}
	verify_journal_release(&verified);
	verify_report_free(report);
	free(path[0]);
	free(path[1]);
}

/* Whether the operation came before it was done. */
static bool
disturb_once(
    const struct part *p, unsigned operation, int failure, unsigned draw)
{
	char when[64], why[1024] = "";
	bool came;
	int r;

	(void)snprintf(when, sizeof when, "%s %d at operation %u, draw %u",
	    failure == CUT ? "power cut" : "failure", failure, operation, draw);
	lay_out(p);
	power_begin(seed + operation * POWER_DRAWS + draw);
	power_names_begin();
	power.failure = failure;
	*(failure == CUT ? &power.cut_at : &power.fail_at) = operation;
	r = recover(why, sizeof why);
	came = power.operations >= operation;
	if (r != 0 && !came)
		fail_msg("%s: %s", when, why);
	if (failure == CUT)
		power_names_restore(folder);
	else
		power_names_end(false);
	power.fail_at = 0;
	check_rests(p, when);
	recover_again(when);
	check_all_there(when);
	return came;
}

static bool
disturb(const struct part *p, unsigned operation, int failure)
{
	bool came;

	power_names.open = 0;
	came = disturb_once(p, operation, failure, 0);
	for (unsigned draw = 1; power_names.open > 0 && draw < power.draws;
	     draw++)
		(void)disturb_once(p, operation, failure, draw);
	return came;
}

static void
disturb_all(const struct part *p, const char *what)
{
	static const int failures[] = {CUT, SQLITE_IOERR_WRITE, SQLITE_FULL};
	unsigned n = 0;

	for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
		unsigned step = power_stride(USUAL, &n);

		while (disturb(p, n, failures[i]))
			n += step;
	}
	assert_in_range(n, 10, 5000);
	(void)fprintf(stderr, "# %s: about %u operations\n", what, n);
}

static void
a_journal_made_anew(void **state)
{
	(void)state;
	disturb_all(&anew, "made anew");
}

static void
the_last_records(void **state)
{
	(void)state;
	disturb_all(&tail, "last records");
}

/* ---- the source ---- */

static void
configure(void)
{
	struct buf text, errors;
	char path[96];

	buf_init(&text);
	buf_init(&errors);
	buf_printf(&text,
	    "domain = \"example.test\"\n"
	    "listen tcp { port = 5060 }\nstate-dir = \"%s\"\n%s",
	    source.dir,
	    geteuid() != 0 ? ""
			   : "users { server = \"#61001\" keeper = \"#61002\" "
			     "signer = \"#61003\" engine = \"#61004\" "
			     "adapter = \"#61005\" anchor = \"#61006\" }\n");
	conf = conf_parse("chancery.conf", buf_view(&text), &errors);
	if (conf == NULL)
		fail_msg("%s", buf_text(&errors));
	(void)snprintf(path, sizeof path, "%s/lock", source.dir);
	assert_int_equal(file_create(path, view_text(""), 0600), 0);
	buf_release(&text);
	buf_release(&errors);
}

static int
prepare(void **state)
{
	const char *text = getenv("CHANCERY_SEED");
	char signer[96], why[256] = "", copy[96];
	char word[] = "evidence", option[] = "-o";
	char *argv[] = {word, option, lines, copy, NULL};

	(void)state;
	seed = text != NULL ? strtoull(text, NULL, 10) : 1;
	crypto_init();
	new_fixture(&source);
	append_open(&source);
	roll(&source, FULL);
	append_posts(&source, SOME - 1 - FULL);
	assert_int_equal(journal_truncate(source.j), 0);
	for (unsigned i = 0; i < FILES; i++) {
		char *path = file_of(source.path, i);

		buf_init(&tail.file[i]);
		assert_int_equal(file_read(path, 64U << 20, &tail.file[i]), 0);
		free(path);
	}
	append_posts(&source, ALL - SOME);
	sign_head(&source, true);
	journal_root(source.j, root);
	configure();
	(void)snprintf(signer, sizeof signer, "%s/signer", source.dir);
	(void)snprintf(folder, sizeof folder, "%s/journal", source.dir);
	(void)snprintf(lines, sizeof lines, "%s/lines", source.dir);
	(void)snprintf(copy, sizeof copy, "%s", source.path);
	assert_int_equal(mkdir(signer, 0700), 0);
	assert_int_equal(mkdir(folder, 0700), 0);
	if (signer_put_state(signer, ORIGIN, ALL, root, why, sizeof why) != 0)
		fail_msg("%s", why);
	assert_int_equal(evidence_main(4, argv), 0);
	power_install();
	return 0;
}

static int
finish(void **state)
{
	char path[96];

	(void)state;
	power_uninstall();
	empty_folder();
	(void)snprintf(path, sizeof path, "%s/signer", source.dir);
	remove_folder(path);
	assert_int_equal(rmdir(folder), 0);
	for (unsigned i = 0; i < FILES; i++)
		buf_release(&tail.file[i]);
	conf_free(conf);
	end_segments(&source);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_journal_made_anew),
	    cmocka_unit_test(the_last_records),
	};

	return cmocka_run_group_tests(tests, prepare, finish);
}
