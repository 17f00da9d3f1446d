#ifndef EXPORT_VERIFY_REPORT_H
#define EXPORT_VERIFY_REPORT_H

/*
 * What a verification says: per file a table of checks with counts and
 * verdicts, findings (what does not hold and where), observations (what the
 * evidence tells and a reader should know, without being a breach), and notes
 * (what holds only as far as said). Kept until printed, at most
 * VERIFY_FINDINGS_MAX findings and VERIFY_OBSERVATIONS_MAX observations a
 * file; more are counted.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

#define VERIFY_FINDINGS_MAX 1000
#define VERIFY_OBSERVATIONS_MAX 100
#define VERIFY_NO_SEQ UINT64_MAX

enum verify_check {
	VERIFY_FILE,
	VERIFY_SYNTAX,
	VERIFY_SEQUENCE,
	VERIFY_TIME,
	VERIFY_DERIVED,
	VERIFY_TILES,
	VERIFY_ROOTS,
	VERIFY_SIGNATURES,
	VERIFY_HEAD,
	VERIFY_KEY,
	VERIFY_EPOCHS,
	VERIFY_COMMITMENTS,
	VERIFY_COMPLETENESS,
	VERIFY_PAYLOADS,
	VERIFY_CONTROL,
	VERIFY_TABLES,
	VERIFY_PURGES,
	VERIFY_ANCHORS,
	VERIFY_PROOF,
	VERIFY_RENDERING,
	VERIFY_MANIFEST,
	VERIFY_ACKS,
	VERIFY_COVERAGE,
	VERIFY_CHECKS
};

/* Where: a record or a range of them, a part of it, a line of its leaf. */
struct verify_place {
	uint64_t seq;  /* VERIFY_NO_SEQ: nowhere in particular */
	uint64_t last; /* of a range; else = seq */
	int part;      /* -1: none */
	unsigned line; /* from 1; 0: none */
};

/* Neighbouring records with the same finding become one. */
struct verify_run {
	enum verify_check check;
	const char *reason;
	uint64_t first, last;
	bool open;
};

struct verify_report;

/* Places, from none to a line of a leaf. */
struct verify_place verify_nowhere(void);
struct verify_place verify_at(uint64_t seq);
struct verify_place verify_at_range(uint64_t first, uint64_t last);
struct verify_place verify_at_part(uint64_t seq, unsigned part);
struct verify_place verify_at_line(uint64_t seq, unsigned line);

/* NULL when out of memory. */
struct verify_report *verify_report_new(void);
/* NULL is allowed. */
void verify_report_free(struct verify_report *r);
/* What follows is about this file; type is a static word like "journal". */
void verify_report_begin(
    struct verify_report *r, const char *path, const char *type);
/* A line of identity of the current file: "origin", "records", ... */
void verify_report_fact(struct verify_report *r, const char *name,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* n more things were put to this check. */
void verify_report_count(
    struct verify_report *r, enum verify_check check, uint64_t n);
/* The check could not be made; reason is static text. */
void verify_report_skip(
    struct verify_report *r, enum verify_check check, const char *reason);
/* Something does not hold, and where. */
void verify_report_finding(struct verify_report *r, enum verify_check check,
    struct verify_place where, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What a record tells that is no breach. */
void verify_report_observe(struct verify_report *r, uint64_t seq,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* What the verdicts of the current file do not mean. */
void verify_report_note(struct verify_report *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The system failed (unreadable file, no memory): nothing was shown. */
void verify_report_failure(struct verify_report *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/*
 * Takes records [first,last] into the run; one that does not follow reports it
 * and begins another.
 */
void verify_run_add(struct verify_report *r, struct verify_run *run,
    uint64_t first, uint64_t last);
/* Reports the last run. */
void verify_run_close(struct verify_report *r, struct verify_run *run);

/* Counts and findings of the current file as bytes, for another process. */
void verify_report_pack(const struct verify_report *r, struct buf *out);
/* Adds what another process packed; false when malformed. */
bool verify_report_unpack(struct verify_report *r, struct reader *in);

/* Findings of the current file so far. */
uint64_t verify_report_findings(const struct verify_report *r);

/* 0 all holds, 1 evidence does not hold, 3 the system failed. */
int verify_report_status(const struct verify_report *r);
/* For people, as chancery-verify(1) describes it. */
void verify_report_text(const struct verify_report *r, struct buf *out);
/* One JSON object and a newline; false when out of memory. */
bool verify_report_json(const struct verify_report *r, struct buf *out);

/* On a terminal: "done of total records" on stderr, now and then. */
void verify_report_progress(
    struct verify_report *r, uint64_t done, uint64_t total);
/* From now on; without it progress is silent. */
void verify_report_show_progress(struct verify_report *r, FILE *terminal);

#endif
