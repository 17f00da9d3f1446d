#ifndef TESTS_UNIT_SEGMENTS_FIXTURE_H
#define TESTS_UNIT_SEGMENTS_FIXTURE_H

/* A journal in several files. */

#include <dirent.h>

#include "tests/unit/journal_fixture.h"

#include "compliance/segments.h"

/* The folder and all files in it. */
static inline void
remove_folder(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	char path[512];

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		(void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(closedir(d), 0);
	assert_int_equal(rmdir(dir), 0);
}

static inline void
end_segments(struct fixture *f)
{
	journal_close(f->j);
	crypto_key_free(f->key);
	remove_folder(f->dir);
}

static inline bool
there(const struct fixture *f, const char *name)
{
	char path[160];

	(void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
	return access(path, F_OK) == 0;
}

/* Digest of a key that nobody will use. */
#define NEXT "0000000000000000000000000000000000000000000000000000000000000000"

static inline void
append_open(struct fixture *f)
{
	struct buf base;
	char fields[512];

	buf_init(&base);
	assert_int_equal(journal_put_base(f->j, &base), 0);
	(void)snprintf(fields, sizeof fields,
	    "journal " UUID "\norigin " ORIGIN "\nvkey %s\nnext " NEXT
	    "\nsoftware test\n"
	    "segment %u\nnote %s\n",
	    f->vkey, journal_segment(f->j), buf_text(&base));
	buf_release(&base);
	assert_int_equal(append_text(f, EVENT_OPEN, fields, NULL), 0);
}

/* Fills the file up to the seal. */
static inline void
seal(struct fixture *f, uint64_t size)
{
	struct journal_event e;

	append_posts(f, size - 1 - journal_size(f->j));
	assert_int_equal(journal_seal(f->j, &e), 0);
	assert_int_equal(e.seq, size - 1);
	assert_true(journal_sealed(f->j));
}

static inline void
roll(struct fixture *f, uint64_t size)
{
	seal(f, size);
	sign_head(f, true);
	if (journal_roll(f->j) != 0)
		fail_msg("%s", journal_error(f->j));
	append_open(f);
}

#endif
