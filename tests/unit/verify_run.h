#ifndef TESTS_UNIT_VERIFY_RUN_H
#define TESTS_UNIT_VERIFY_RUN_H

/* Runs the verifier in process and looks into its JSON report. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/verify_archive.h"
#include "export/verify_cross.h"
#include "export/verify_journal.h"

/* Ends the report: its JSON object. Caller frees. */
static inline json_t *
run_end(struct verify_report *r)
{
	struct buf text;
	json_t *o;

	buf_init(&text);
	if (!verify_report_json(r, &text))
		abort();
	o = json_loadb((const char *)text.data, text.len, 0, NULL);
	if (o == NULL)
		abort();
	buf_release(&text);
	verify_report_free(r);
	return o;
}

/* The report of one journal; status by json "status". Caller frees. */
static inline json_t *
run_journal(const char *path, const char *vkey,
    const struct verify_outside *outside, size_t outsides)
{
	struct verify_report *r = verify_report_new();
	struct verify_journal j;
	struct verify_key key;
	const char *why;

	if (vkey != NULL && !verify_key_parse(view_text(vkey), &key, &why)) {
		fprintf(stderr, "key: %s\n", why);
		abort();
	}
	verify_journal_run(&(const struct verify_group){&path, 1, true},
	    vkey == NULL ? NULL : &key, outside, outsides, r, &j);
	verify_journal_release(&j);
	return run_end(r);
}

static inline int
run_status(const json_t *o)
{
	return (int)json_integer_value(json_object_get(o, "status"));
}

/*
 * A finding of the check (NULL: any) whose records include seq (-1: any) and
 * whose reason contains the words (NULL: any).
 */
static inline bool
run_found(const json_t *o, const char *check, int64_t seq, const char *words)
{
	const json_t *file, *f;
	size_t i, k;

	json_array_foreach(json_object_get(o, "files"), i, file)
	{
		json_array_foreach(json_object_get(file, "findings"), k, f)
		{
			const json_t *first = json_object_get(f, "seq");
			const json_t *last = json_object_get(f, "last");
			int64_t a = json_integer_value(first), b;
			const char *reason =
			    json_string_value(json_object_get(f, "reason"));

			b = last == NULL ? a : json_integer_value(last);
			if (check != NULL &&
			    strcmp(check,
				json_string_value(
				    json_object_get(f, "check"))) != 0)
				continue;
			if (seq >= 0 && (first == NULL || seq < a || seq > b))
				continue;
			if (words == NULL || strstr(reason, words) != NULL)
				return true;
		}
	}
	return false;
}

static inline bool
run_noted(const json_t *o, const char *words)
{
	const json_t *file, *n;
	size_t i, k;

	json_array_foreach(json_object_get(o, "files"), i, file)
	{
		json_array_foreach(json_object_get(file, "notes"), k, n)
		{
			if (strstr(json_string_value(n), words) != NULL)
				return true;
		}
	}
	return false;
}

/* Whether the first file has such an observation; seq -1: of any record. */
static inline bool
run_observed(const json_t *o, int64_t seq, const char *words)
{
	const json_t *file = json_array_get(json_object_get(o, "files"), 0);
	const json_t *n;
	size_t i;

	json_array_foreach(json_object_get(file, "observations"), i, n)
	{
		const char *text =
		    json_string_value(json_object_get(n, "text"));

		if ((seq < 0 ||
			json_integer_value(json_object_get(n, "seq")) == seq) &&
		    strstr(text, words) != NULL)
			return true;
	}
	return false;
}

/* Observations of the first file that are shown. */
static inline size_t
run_observations(const json_t *o)
{
	const json_t *file = json_array_get(json_object_get(o, "files"), 0);

	return json_array_size(json_object_get(file, "observations"));
}

/* How many things of the first file were put to a check. */
static inline int64_t
run_count(const json_t *o, const char *check)
{
	const json_t *file = json_array_get(json_object_get(o, "files"), 0);
	const json_t *c;
	size_t i;

	json_array_foreach(json_object_get(file, "checks"), i, c)
	{
		if (strcmp(json_string_value(json_object_get(c, "check")),
			check) == 0)
			return json_integer_value(json_object_get(c, "count"));
	}
	return -1;
}

/* Findings of the first file. */
static inline int64_t
run_total(const json_t *o)
{
	const json_t *file = json_array_get(json_object_get(o, "files"), 0);

	return json_integer_value(json_object_get(file, "findings_total"));
}

static inline void
run_print(const json_t *o)
{
	json_dumpf(o, stderr, JSON_INDENT(1));
	fputc('\n', stderr);
}

#endif
