#include "export/verify_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "export/neutral.h"

struct finding {
	enum verify_check check;
	struct verify_place where;
	char *reason;
};

struct observation {
	uint64_t seq;
	char *text;
};

struct fact {
	const char *name;
	char *value;
};

struct tally {
	uint64_t count;
	uint64_t findings;
	bool made;
	const char *skipped;
};

/* All that is said about one file. */
struct subject {
	char *path;
	const char *type;
	struct tally tally[VERIFY_CHECKS];
	struct finding *finding;
	size_t findings;
	uint64_t all_findings;
	struct fact fact[8];
	size_t facts;
	struct observation observation[VERIFY_OBSERVATIONS_MAX];
	size_t observations;
	uint64_t all_observations;
	char **note;
	size_t notes;
	char *failure;
};

struct verify_report {
	struct subject *subject;
	size_t subjects;
	bool out_of_memory;
	FILE *terminal;
	bool progress_shown;
};

static const struct {
	const char *name; /* in JSON, stable */
	const char *title;
} checks[VERIFY_CHECKS] = {
    [VERIFY_FILE] = {"file", "file form"},
    [VERIFY_SYNTAX] = {"syntax", "leaf syntax"},
    [VERIFY_SEQUENCE] = {"sequence", "sequence without gap"},
    [VERIFY_TIME] = {"time", "time increasing"},
    [VERIFY_DERIVED] = {"derived", "derived columns"},
    [VERIFY_TILES] = {"tiles", "hash tree tiles"},
    [VERIFY_ROOTS] = {"roots", "roots at checkpoints"},
    [VERIFY_SIGNATURES] = {"signatures", "checkpoint signatures"},
    [VERIFY_HEAD] = {"head", "head of the tree"},
    [VERIFY_KEY] = {"key", "signing key"},
    [VERIFY_EPOCHS] = {"epochs", "epochs of the key"},
    [VERIFY_COMMITMENTS] = {"commitments", "payload commitments"},
    [VERIFY_COMPLETENESS] = {"completeness", "payload or purge record"},
    [VERIFY_PAYLOADS] = {"payloads", "payload form"},
    [VERIFY_CONTROL] = {"control", "control records"},
    [VERIFY_TABLES] = {"tables", "tables from control records"},
    [VERIFY_PURGES] = {"purges", "purge rules"},
    [VERIFY_ANCHORS] = {"anchors", "cosignatures and time-stamps"},
    [VERIFY_PROOF] = {"proof", "proof to the checkpoint"},
    [VERIFY_RENDERING] = {"rendering", "rendering equals evidence"},
    [VERIFY_MANIFEST] = {"manifest", "manifests"},
    [VERIFY_ACKS] = {"acks", "archive as acknowledged"},
    [VERIFY_COVERAGE] = {"coverage", "purged events in archives"},
};

struct verify_place
verify_nowhere(void)
{
	return (struct verify_place){VERIFY_NO_SEQ, VERIFY_NO_SEQ, -1, 0};
}

struct verify_place
verify_at(uint64_t seq)
{
	return (struct verify_place){seq, seq, -1, 0};
}

struct verify_place
verify_at_range(uint64_t first, uint64_t last)
{
	return (struct verify_place){first, last, -1, 0};
}

struct verify_place
verify_at_part(uint64_t seq, unsigned part)
{
	return (struct verify_place){seq, seq, (int)part, 0};
}

struct verify_place
verify_at_line(uint64_t seq, unsigned line)
{
	return (struct verify_place){seq, seq, -1, line};
}

struct verify_report *
verify_report_new(void)
{
	return calloc(1, sizeof(struct verify_report));
}

static void
subject_release(struct subject *s)
{
	for (size_t i = 0; i < s->findings; i++)
		free(s->finding[i].reason);
	for (size_t i = 0; i < s->facts; i++)
		free(s->fact[i].value);
	for (size_t i = 0; i < s->notes; i++)
		free(s->note[i]);
	for (size_t i = 0; i < s->observations; i++)
		free(s->observation[i].text);
	free(s->finding);
	free(s->note);
	free(s->failure);
	free(s->path);
}

void
verify_report_free(struct verify_report *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->subjects; i++)
		subject_release(&r->subject[i]);
	free(r->subject);
	free(r);
}

/* Room for one more in an array that doubles; NULL keeps the old one. */
static void *
grown(struct verify_report *r, void *array, size_t used, size_t item)
{
	void *p;

	if (used != 0 && (used & (used - 1)) != 0)
		return array;
	p = reallocarray(array, used == 0 ? 1 : used * 2, item);
	if (p == NULL)
		r->out_of_memory = true;
	return p;
}

static char *
formatted(struct verify_report *r, const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) < 0) {
		r->out_of_memory = true;
		return NULL;
	}
	return text;
}

static struct subject *
current(const struct verify_report *r)
{
	return r->subjects == 0 ? NULL : &r->subject[r->subjects - 1];
}

void
verify_report_begin(struct verify_report *r, const char *path, const char *type)
{
	struct subject *s;
	char *copy;

	s = grown(r, r->subject, r->subjects, sizeof(*s));
	if (s == NULL)
		return;
	r->subject = s;
	copy = strdup(path);
	if (copy == NULL) {
		r->out_of_memory = true;
		return;
	}
	s = &r->subject[r->subjects++];
	memset(s, 0, sizeof(*s));
	s->path = copy;
	s->type = type;
}

void
verify_report_fact(
    struct verify_report *r, const char *name, const char *fmt, ...)
{
	struct subject *s = current(r);
	va_list ap;
	char *text;

	if (s == NULL || s->facts == sizeof(s->fact) / sizeof(s->fact[0]))
		return;
	va_start(ap, fmt);
	text = formatted(r, fmt, ap);
	va_end(ap);
	if (text != NULL)
		s->fact[s->facts++] = (struct fact){name, text};
}

void
verify_report_count(
    struct verify_report *r, enum verify_check check, uint64_t n)
{
	struct subject *s = current(r);

	if (s == NULL)
		return;
	s->tally[check].count += n;
	s->tally[check].made = true;
}

void
verify_report_skip(
    struct verify_report *r, enum verify_check check, const char *reason)
{
	struct subject *s = current(r);

	if (s != NULL)
		s->tally[check].skipped = reason;
}

void
verify_report_finding(struct verify_report *r, enum verify_check check,
    struct verify_place where, const char *fmt, ...)
{
	struct subject *s = current(r);
	struct finding *f;
	va_list ap;
	char *text;

	if (s == NULL)
		return;
	s->all_findings++;
	s->tally[check].findings++;
	s->tally[check].made = true;
	if (s->findings == VERIFY_FINDINGS_MAX)
		return;
	f = grown(r, s->finding, s->findings, sizeof(*f));
	if (f == NULL)
		return;
	s->finding = f;
	va_start(ap, fmt);
	text = formatted(r, fmt, ap);
	va_end(ap);
	if (text != NULL)
		s->finding[s->findings++] =
		    (struct finding){check, where, text};
}

void
verify_run_close(struct verify_report *r, struct verify_run *run)
{
	if (!run->open)
		return;
	verify_report_finding(r, run->check,
	    verify_at_range(run->first, run->last), "%s", run->reason);
	run->open = false;
}

void
verify_run_add(struct verify_report *r, struct verify_run *run, uint64_t first,
    uint64_t last)
{
	if (run->open && first >= run->first && first <= run->last + 1) {
		run->last = last;
		return;
	}
	verify_run_close(r, run);
	run->first = first;
	run->last = last;
	run->open = true;
}

void
verify_report_observe(
    struct verify_report *r, uint64_t seq, const char *fmt, ...)
{
	struct subject *s = current(r);
	va_list ap;
	char *text;

	if (s == NULL)
		return;
	s->all_observations++;
	if (s->observations == VERIFY_OBSERVATIONS_MAX)
		return;
	va_start(ap, fmt);
	text = formatted(r, fmt, ap);
	va_end(ap);
	if (text != NULL)
		s->observation[s->observations++] =
		    (struct observation){seq, text};
}

void
verify_report_note(struct verify_report *r, const char *fmt, ...)
{
	struct subject *s = current(r);
	va_list ap;
	char *text, **grown_notes;

	if (s == NULL || s->notes == VERIFY_FINDINGS_MAX)
		return;
	grown_notes = grown(r, s->note, s->notes, sizeof(*s->note));
	if (grown_notes == NULL)
		return;
	s->note = grown_notes;
	va_start(ap, fmt);
	text = formatted(r, fmt, ap);
	va_end(ap);
	if (text != NULL)
		s->note[s->notes++] = text;
}

void
verify_report_failure(struct verify_report *r, const char *fmt, ...)
{
	struct subject *s = current(r);
	va_list ap;

	if (s == NULL || s->failure != NULL)
		return;
	va_start(ap, fmt);
	s->failure = formatted(r, fmt, ap);
	va_end(ap);
}

uint64_t
verify_report_findings(const struct verify_report *r)
{
	const struct subject *s = current(r);

	return s == NULL ? 0 : s->all_findings;
}

int
verify_report_status(const struct verify_report *r)
{
	int status = r->out_of_memory || r->subjects == 0 ? 3 : 0;

	for (size_t i = 0; i < r->subjects; i++) {
		if (r->subject[i].all_findings > 0)
			return 1;
		if (r->subject[i].failure != NULL)
			status = 3;
	}
	return status;
}

void
verify_report_pack(const struct verify_report *r, struct buf *out)
{
	const struct subject *s = current(r);

	for (size_t i = 0; i < VERIFY_CHECKS; i++) {
		buf_put_u64(out, s->tally[i].count);
		buf_put_u64(out, s->tally[i].findings);
	}
	buf_put_u32(out, (uint32_t)s->findings);
	for (size_t i = 0; i < s->findings; i++) {
		const struct finding *f = &s->finding[i];

		buf_put_u8(out, (uint8_t)f->check);
		buf_put_u64(out, f->where.seq);
		buf_put_u64(out, f->where.last);
		buf_put_u32(out, (uint32_t)(f->where.part + 1));
		buf_put_u32(out, f->where.line);
		buf_put_u32(out, (uint32_t)strlen(f->reason));
		buf_put_text(out, f->reason);
	}
}

static bool
unpack_finding(struct verify_report *r, struct reader *in)
{
	enum verify_check check = reader_u8(in);
	struct verify_place where;
	struct view reason;

	where.seq = reader_u64(in);
	where.last = reader_u64(in);
	where.part = (int)reader_u32(in) - 1;
	where.line = reader_u32(in);
	reason = reader_take(in, reader_u32(in));
	if (in->failed || check >= VERIFY_CHECKS)
		return false;
	verify_report_finding(
	    r, check, where, "%.*s", (int)reason.n, (const char *)reason.p);
	return true;
}

bool
verify_report_unpack(struct verify_report *r, struct reader *in)
{
	struct subject *s = current(r);
	uint64_t count[VERIFY_CHECKS], findings[VERIFY_CHECKS], all = 0;
	uint32_t kept;

	for (size_t i = 0; i < VERIFY_CHECKS; i++) {
		count[i] = reader_u64(in);
		findings[i] = reader_u64(in);
		all += findings[i];
	}
	kept = reader_u32(in);
	if (in->failed || s == NULL)
		return false;
	all += s->all_findings;
	for (size_t i = 0; i < VERIFY_CHECKS; i++)
		findings[i] += s->tally[i].findings;
	for (uint32_t i = 0; i < kept; i++)
		if (!unpack_finding(r, in))
			return false;
	/* Among them are some that were counted there, but not kept. */
	s->all_findings = all;
	for (size_t i = 0; i < VERIFY_CHECKS; i++) {
		s->tally[i].findings = findings[i];
		s->tally[i].count += count[i];
		s->tally[i].made |= count[i] > 0 || findings[i] > 0;
	}
	return true;
}

static const char *
verdict(const struct tally *t)
{
	return t->findings > 0 ? "FAILS" : t->made ? "holds" : "not checked";
}

static void
put_neutral(struct buf *out, const char *text)
{
	neutral_put(out, view_text(text));
}

static void
put_place(struct buf *out, const struct subject *s, struct verify_place where)
{
	put_neutral(out, s->path);
	if (where.seq != VERIFY_NO_SEQ && where.last != where.seq)
		buf_printf(out, ": records %" PRIu64 "-%" PRIu64, where.seq,
		    where.last);
	else if (where.seq != VERIFY_NO_SEQ)
		buf_printf(out, ": record %" PRIu64, where.seq);
	if (where.part >= 0)
		buf_printf(out, ", part %d", where.part);
	if (where.line > 0)
		buf_printf(out,
		    where.seq == VERIFY_NO_SEQ ? ": line %u" : ", line %u",
		    where.line);
	buf_put_text(out, ": ");
}

static void
put_table(struct buf *out, const struct subject *s)
{
	buf_printf(out, "  %-30s %15s  %s\n", "check", "count", "verdict");
	for (size_t i = 0; i < VERIFY_CHECKS; i++) {
		const struct tally *t = &s->tally[i];

		if (!t->made && t->skipped == NULL)
			continue;
		buf_printf(out, "  %-30s %15" PRIu64 "  %s", checks[i].title,
		    t->count, verdict(t));
		if (t->skipped != NULL)
			buf_printf(out, t->made ? " (%s)" : ": %s", t->skipped);
		buf_put_text(out, "\n");
	}
}

static void
put_subject(struct buf *out, const struct subject *s)
{
	put_neutral(out, s->path);
	buf_printf(out, " (%s)\n", s->type);
	for (size_t i = 0; i < s->facts; i++) {
		buf_printf(out, "  %s: ", s->fact[i].name);
		put_neutral(out, s->fact[i].value);
		buf_put_text(out, "\n");
	}
	put_table(out, s);
	for (size_t i = 0; i < s->findings; i++) {
		buf_put_text(out, "  finding: ");
		put_place(out, s, s->finding[i].where);
		put_neutral(out, s->finding[i].reason);
		buf_put_text(out, "\n");
	}
	if (s->all_findings > s->findings)
		buf_printf(out, "  and %" PRIu64 " more findings\n",
		    s->all_findings - s->findings);
	if (s->failure != NULL) {
		buf_put_text(out, "  failure: ");
		put_neutral(out, s->failure);
		buf_put_text(out, "\n");
	}
	for (size_t i = 0; i < s->observations; i++) {
		buf_printf(out, "  observation: record %" PRIu64 ": ",
		    s->observation[i].seq);
		put_neutral(out, s->observation[i].text);
		buf_put_text(out, "\n");
	}
	if (s->all_observations > s->observations)
		buf_printf(out, "  and %" PRIu64 " more observations\n",
		    s->all_observations - s->observations);
	for (size_t i = 0; i < s->notes; i++) {
		buf_put_text(out, "  note: ");
		put_neutral(out, s->note[i]);
		buf_put_text(out, "\n");
	}
	buf_put_text(out, "\n");
}

static const char *
overall(const struct verify_report *r)
{
	switch (verify_report_status(r)) {
	case 0:
		return "holds";
	case 1:
		return "does not hold";
	default:
		return "unknown: the system failed";
	}
}

void
verify_report_text(const struct verify_report *r, struct buf *out)
{
	uint64_t findings = 0;
	size_t notes = 0;

	for (size_t i = 0; i < r->subjects; i++) {
		put_subject(out, &r->subject[i]);
		findings += r->subject[i].all_findings;
		notes += r->subject[i].notes;
	}
	if (r->out_of_memory)
		buf_put_text(out, "out of memory: the report is incomplete\n");
	buf_printf(out, "Result: %s", overall(r));
	if (findings > 0)
		buf_printf(out, " (%" PRIu64 " finding%s)", findings,
		    findings == 1 ? "" : "s");
	else if (notes > 0)
		buf_put_text(out, ", within what the notes say");
	buf_put_text(out, "\n");
}

/* Evidence may hold bytes that JSON cannot: they are shown neutralised. */
static json_t *
json_safe(const char *text)
{
	struct buf b;
	json_t *j;

	buf_init(&b);
	put_neutral(&b, text);
	j = json_stringn((const char *)b.data, b.len);
	buf_release(&b);
	return j;
}

static json_t *
json_checks(const struct subject *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < VERIFY_CHECKS; i++) {
		const struct tally *t = &s->tally[i];
		json_t *o;

		if (!t->made && t->skipped == NULL)
			continue;
		o = json_pack("{s:s,s:I,s:I,s:s}", "check", checks[i].name,
		    "count", (json_int_t)t->count, "findings",
		    (json_int_t)t->findings, "verdict",
		    t->findings > 0 ? "fails"
			: t->made   ? "holds"
				    : "not checked");
		if (t->skipped != NULL)
			json_object_set_new(
			    o, "reason", json_string(t->skipped));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *
json_findings(const struct subject *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->findings; i++) {
		const struct finding *f = &s->finding[i];
		json_t *o = json_pack("{s:s}", "check", checks[f->check].name);

		if (f->where.seq != VERIFY_NO_SEQ)
			json_object_set_new(
			    o, "seq", json_integer((json_int_t)f->where.seq));
		if (f->where.last != f->where.seq)
			json_object_set_new(
			    o, "last", json_integer((json_int_t)f->where.last));
		if (f->where.part >= 0)
			json_object_set_new(
			    o, "part", json_integer(f->where.part));
		if (f->where.line > 0)
			json_object_set_new(
			    o, "line", json_integer(f->where.line));
		json_object_set_new(o, "reason", json_safe(f->reason));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *
json_observations(const struct subject *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->observations; i++)
		json_array_append_new(list,
		    json_pack("{s:I,s:o}", "seq",
			(json_int_t)s->observation[i].seq, "text",
			json_safe(s->observation[i].text)));
	return list;
}

static json_t *
json_subject(const struct subject *s)
{
	json_t *o = json_object(), *notes = json_array();

	json_object_set_new(o, "file", json_safe(s->path));
	json_object_set_new(o, "type", json_string(s->type));
	for (size_t i = 0; i < s->facts; i++)
		json_object_set_new(
		    o, s->fact[i].name, json_safe(s->fact[i].value));
	json_object_set_new(o, "checks", json_checks(s));
	json_object_set_new(o, "findings", json_findings(s));
	json_object_set_new(
	    o, "findings_total", json_integer((json_int_t)s->all_findings));
	json_object_set_new(o, "observations", json_observations(s));
	json_object_set_new(o, "observations_total",
	    json_integer((json_int_t)s->all_observations));
	if (s->failure != NULL)
		json_object_set_new(o, "failure", json_safe(s->failure));
	for (size_t i = 0; i < s->notes; i++)
		json_array_append_new(notes, json_safe(s->note[i]));
	json_object_set_new(o, "notes", notes);
	return o;
}

bool
verify_report_json(const struct verify_report *r, struct buf *out)
{
	json_t *files = json_array(), *top;
	char *text;

	for (size_t i = 0; i < r->subjects; i++)
		json_array_append_new(files, json_subject(&r->subject[i]));
	top = json_pack("{s:s,s:s,s:i,s:o}", "program",
	    "chancery-verify/" CHANCERY_VERSION, "verdict", overall(r),
	    "status", verify_report_status(r), "files", files);
	text = top == NULL ? NULL : json_dumps(top, JSON_COMPACT);
	json_decref(top);
	if (text == NULL)
		return false;
	buf_put_text(out, text);
	buf_put_text(out, "\n");
	free(text);
	return !out->failed;
}

void
verify_report_show_progress(struct verify_report *r, FILE *terminal)
{
	r->terminal = terminal;
}

void
verify_report_progress(struct verify_report *r, uint64_t done, uint64_t total)
{
	if (r->terminal == NULL)
		return;
	if (done < total) {
		fprintf(r->terminal, "\r%" PRIu64 " of %" PRIu64 " records",
		    done, total);
		r->progress_shown = true;
	} else if (r->progress_shown) {
		fprintf(r->terminal, "\r\033[K");
		r->progress_shown = false;
	}
	fflush(r->terminal);
}
