#ifndef TESTS_UNIT_VERIFY_STORY_H
#define TESTS_UNIT_VERIFY_STORY_H

/* Journals told as stories of verify_fixture.h, and what is said of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/verify_fixture.h"
#include "tests/unit/verify_run.h"

/* The report; released by the caller. */
static inline json_t *
judge_story(void (*story)(struct fix *))
{
	struct fix f;
	char folder[64], path[160];
	json_t *o;

	snprintf(folder, sizeof(folder), "/tmp/verify.XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/story.db", folder);
	fix_init(&f, 7);
	fix_open(&f);
	story(&f);
	f.note_size = f.n;
	fix_write(&f, path);
	o = run_journal(path, f.vkey, NULL, 0);
	unlink(path);
	rmdir(folder);
	fix_free(&f);
	return o;
}

/* Journals whose control records break the rules, otherwise sound. */
static inline void
run_story(void (*story)(struct fix *), const char *check, int64_t seq,
    const char *words)
{
	json_t *o = judge_story(story);

	if (check == NULL
		? run_status(o) != 0
		: run_status(o) != 1 || !run_found(o, check, seq, words)) {
		run_print(o);
		fail_msg("expected %s at %lld: %s",
		    check == NULL ? "no finding" : check, (long long)seq,
		    words == NULL ? "" : words);
	}
	json_decref(o);
}

#endif
