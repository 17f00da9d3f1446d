#include "compliance/witness_client.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#include "compliance/chain.h"
#include "compliance/cosign.h"
#include "compliance/note.h"

#define TRIES_MAX 4 /* times that it may correct where it stands */
#define ANSWER_MAX 16384

struct witness_client {
	const struct conf_witness *conf;
	struct note_vkey key;
	bool known;      /* old is what the witness said or cosigned */
	uint64_t old;    /* newest size that it has cosigned */
	uint64_t taught; /* key records below this are known to it */
	bool no_keys;    /* it does not know of /add-key */
	/* the round */
	uint64_t size;
	struct buf note;
	bool teaching; /* the request at hand is for a key record */
	uint64_t asked_key, asked_size;
	unsigned tries;
	struct witness_request request;
	struct buf line;
	uint64_t line_size, line_time;
	bool looking; /* the request at hand is for its newest checkpoint, */
	uint64_t claimed; /* as it says that there are so many records */
	struct buf claim;
	char path[2 * CRYPTO_SHA256_LEN + sizeof "/checkpoint"];
	char why[512];
};

static enum witness_verdict __attribute__((format(printf, 3, 4)))
end_round(struct witness_client *w, enum witness_verdict verdict,
    const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(w->why, sizeof w->why, fmt, ap); /* for people */
	va_end(ap);
	return verdict;
}

struct witness_client *
witness_client_new(const struct conf_witness *conf)
{
	struct witness_client *w = calloc(1, sizeof *w);

	if (w == NULL || !cosign_parse_vkey(view_text(conf->vkey), &w->key)) {
		free(w);
		return NULL;
	}
	w->conf = conf;
	return w;
}

/* "old N" and the proof from there. */
static bool
put_proof(
    struct witness_client *w, const struct witness_journal *j, uint64_t size)
{
	struct buf *b = &w->request.body;
	struct buf proof;
	bool ok;

	buf_clear(b);
	buf_init(&proof);
	buf_printf(b, "old %" PRIu64 "\n", w->old);
	ok = scan_consistency(j->scan, w->old, size, &proof) == 0;
	for (size_t at = 0; ok && at < proof.len; at += CRYPTO_SHA256_LEN) {
		text_put_base64(b, proof.data + at, CRYPTO_SHA256_LEN);
		buf_put_u8(b, '\n');
	}
	buf_put_u8(b, '\n');
	ok = ok && !proof.failed;
	buf_release(&proof);
	return ok;
}

/*
 * The next key record that the witness must be told before the round's
 * checkpoint; one that its own size closes may be unknown to it, too.
 */
static int
next_key(const struct witness_client *w, const struct witness_journal *j,
    uint64_t *seq)
{
	uint64_t from = w->old > 0 ? w->old - 1 : 0;
	int r;

	if (w->no_keys || j->link == NULL)
		return 0;
	if (from < w->taught)
		from = w->taught;
	r = evidence_key(j->evidence, from, seq);
	return r == 1 && *seq >= w->size ? 0 : r;
}

static enum witness_verdict
make_request(struct witness_client *w, const struct witness_journal *j)
{
	struct buf *b = &w->request.body;
	uint64_t seq = 0;
	int key = next_key(w, j, &seq);

	if (key < 0)
		return end_round(
		    w, WITNESS_FAILED, "%s", evidence_error(j->evidence));
	w->teaching = key == 1;
	w->asked_key = seq;
	w->asked_size = w->teaching ? seq + 1 : w->size;
	w->request.path = w->teaching ? "add-key" : "add-checkpoint";
	if (!put_proof(w, j, w->asked_size) ||
	    (w->teaching && j->link(j->scan, seq, b) != 0))
		return end_round(w, WITNESS_FAILED, "%s", scan_error(j->scan));
	if (!w->teaching)
		buf_put_view(b, buf_view(&w->note));
	if (b->failed)
		return end_round(w, WITNESS_FAILED, "out of memory");
	return WITNESS_ASK;
}

/*
 * Where the witness stands, as far as the journal knows. Under another name
 * the journal is another log to it: what it cosigned and learnt before a
 * recover record is of no account.
 */
static bool
recall(struct witness_client *w, const struct witness_journal *j)
{
	struct chain_epoch first;

	if (chain_genesis(j->scan, &first, NULL) != 0) {
		(void)end_round(w, WITNESS_FAILED, "%s", scan_error(j->scan));
		return false;
	}
	if (evidence_cosigned(j->evidence, w->key.name, &w->old, NULL) < 0) {
		(void)end_round(
		    w, WITNESS_FAILED, "%s", evidence_error(j->evidence));
		return false;
	}
	if (w->old <= first.seq)
		w->old = 0;
	w->taught = first.seq;
	w->known = true;
	return true;
}

enum witness_verdict
witness_client_begin(struct witness_client *w, const struct witness_journal *j,
    uint64_t size, struct view note)
{
	w->size = size;
	w->looking = false;
	w->tries = 0;
	w->why[0] = '\0';
	buf_clear(&w->note);
	buf_put_view(&w->note, note);
	if (!w->known && !recall(w, j))
		return WITNESS_FAILED;
	if (w->old > size)
		return end_round(w, WITNESS_FAILED,
		    "it has cosigned %" PRIu64
		    " records, the newest checkpoint covers %" PRIu64,
		    w->old, size);
	return make_request(w, j);
}

const struct witness_request *
witness_client_request(struct witness_client *w)
{
	return &w->request;
}

/* The lines' own words, cut to one line that a log can take. */
static int
shown(struct view body)
{
	size_t n = 0;

	while (n < body.n && n < 200 && body.p[n] >= ' ' && body.p[n] < 0x7f)
		n++;
	return (int)n;
}

static bool
take_line(struct view *text, struct view *line)
{
	const uint8_t *p = text->n == 0 ? NULL : memchr(text->p, '\n', text->n);

	if (p == NULL)
		return false;
	*line = view_of(text->p, (size_t)(p - text->p) + 1);
	*text = view_of(p + 1, text->n - line->n);
	return true;
}

/* The body that the request at hand asked a signature for. */
static bool
asked_body(const struct witness_client *w, struct note *out)
{
	const struct buf *b = &w->request.body;
	struct view text = buf_view(b), rest;
	const char *why;

	if (!w->teaching)
		return note_parse(buf_view(&w->note), out, &why);
	/* The note is behind the third empty line. */
	for (int i = 0; i < 3; i++) {
		const uint8_t *p = memmem(text.p, text.n, "\n\n", 2);

		if (p == NULL)
			return false;
		rest = view_of(p + 2, text.n - (size_t)(p + 2 - text.p));
		text = rest;
	}
	return note_parse(text, out, &why);
}

static enum witness_verdict
on_lines(struct witness_client *w, struct view body)
{
	struct view line;
	struct note note;
	struct cosign c;

	if (!asked_body(w, &note))
		return end_round(
		    w, WITNESS_FAILED, "what was asked cannot be read");
	while (take_line(&body, &line)) {
		if (!cosign_parse_line(line, &c) ||
		    !cosign_verify(&c, note.body, &w->key))
			continue;
		buf_clear(&w->line);
		buf_put_view(&w->line, line);
		w->line_size = w->asked_size;
		w->line_time = c.time;
		w->old = w->asked_size;
		if (w->teaching)
			w->taught = w->asked_key + 1;
		return w->line.failed
		    ? end_round(w, WITNESS_FAILED, "out of memory")
		    : WITNESS_COSIGNED;
	}
	return end_round(w, WITNESS_FAILED,
	    "its answer has no line of its key for this checkpoint");
}

/*
 * It says that there is another history: its checkpoint is to be seen, for
 * only that can prove it. It is asked for by the hash of the origin.
 */
static enum witness_verdict __attribute__((format(printf, 3, 4)))
look(struct witness_client *w, uint64_t size, const char *fmt, ...)
{
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct note note;
	struct buf hex;
	const char *why;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(w->why, sizeof w->why, fmt, ap); /* for people */
	va_end(ap);
	if (!note_parse(buf_view(&w->note), &note, &why))
		return end_round(w, WITNESS_FAILED, "%s", why);
	crypto_sha256(note.origin.p, note.origin.n, hash);
	buf_init(&hex);
	text_put_hex(&hex, hash, sizeof hash);
	(void)snprintf(w->path, sizeof w->path, "%.*s/checkpoint", (int)hex.len,
	    (const char *)hex.data);
	buf_release(&hex);
	w->looking = true;
	w->claimed = size;
	buf_clear(&w->claim);
	w->request.path = w->path;
	buf_clear(&w->request.body);
	return WITNESS_ASK;
}

static enum witness_verdict
on_looked(struct witness_client *w, unsigned status, struct view body)
{
	struct note note;
	char claim[sizeof w->why];
	const char *why;

	w->looking = false;
	memcpy(claim, w->why, sizeof claim);
	if (status != 200 && status != 404)
		return end_round(w, WITNESS_FAILED,
		    "%.300s; its checkpoint cannot be had: HTTP status %u: "
		    "%.*s",
		    claim, status, shown(body), (const char *)body.p);
	if (status == 200 && body.n <= ANSWER_MAX &&
	    note_parse(body, &note, &why)) {
		if (note.size > INT64_MAX)
			return end_round(w, WITNESS_FAILED,
			    "%.300s; its checkpoint is of %" PRIu64 " records",
			    claim, note.size);
		w->claimed = note.size;
		buf_put_view(&w->claim, body);
	}
	return w->claim.failed ? end_round(w, WITNESS_FAILED, "out of memory")
			       : WITNESS_CONFLICT;
}

/* It stands elsewhere than we thought. */
static enum witness_verdict
on_conflict(
    struct witness_client *w, const struct witness_journal *j, struct view body)
{
	uint64_t size, all = scan_size(j->scan);

	if (body.n > 0 && body.p[body.n - 1] == '\n')
		body.n--;
	if (!view_to_u64(body, &size) || size > INT64_MAX)
		return end_round(
		    w, WITNESS_FAILED, "409 without a size in its answer");
	if (size > all)
		return look(w, size,
		    "it says that it has cosigned %" PRIu64 " records of this "
		    "journal, which holds %" PRIu64,
		    size, all);
	if (++w->tries > TRIES_MAX || size == w->old)
		return end_round(
		    w, WITNESS_FAILED, "409 for the size that it told");
	w->old = size;
	if (w->teaching && size > w->asked_size)
		w->taught = w->asked_key + 1;
	if (size > w->size)
		return end_round(w, WITNESS_FAILED,
		    "it has cosigned %" PRIu64
		    " records, the newest checkpoint covers %" PRIu64,
		    size, w->size);
	return make_request(w, j);
}

enum witness_verdict
witness_client_answer(struct witness_client *w, const struct witness_journal *j,
    unsigned status, struct view body)
{
	if (w->looking)
		return on_looked(w, status, body);
	if (body.n > ANSWER_MAX)
		return end_round(w, WITNESS_FAILED, "its answer is too long");
	switch (status) {
	case 0:
		return end_round(w, WITNESS_FAILED, "%.*s", shown(body),
		    (const char *)body.p);
	case 200:
		return on_lines(w, body);
	case 409:
		return on_conflict(w, j, body);
	case 422:
		return look(w, w->old,
		    "it says that the records up to %" PRIu64
		    " do not lead to those up to %" PRIu64 " (%.*s)",
		    w->old, w->asked_size, shown(body), (const char *)body.p);
	}
	/* A key that it does not take may be older than those it was given. */
	if (w->teaching && (status == 403 || status == 404)) {
		if (status == 404)
			w->no_keys = true;
		w->taught = w->asked_key + 1;
		return make_request(w, j);
	}
	/* It may be told of the journal before the next round. */
	w->known = false;
	w->no_keys = false;
	return end_round(w, WITNESS_FAILED, "HTTP status %u: %.*s", status,
	    shown(body), (const char *)body.p);
}

enum witness_verdict
witness_client_go_on(struct witness_client *w, const struct witness_journal *j)
{
	return w->teaching ? make_request(w, j) : WITNESS_DONE;
}

struct view
witness_client_line(
    const struct witness_client *w, uint64_t *size, uint64_t *time)
{
	*size = w->line_size;
	*time = w->line_time;
	return buf_view(&w->line);
}

struct view
witness_client_claim(const struct witness_client *w, uint64_t *size)
{
	*size = w->claimed;
	return buf_view(&w->claim);
}

struct view
witness_client_name(const struct witness_client *w)
{
	return w->key.name;
}

const char *
witness_client_why(const struct witness_client *w)
{
	return w->why;
}

void
witness_client_free(struct witness_client *w)
{
	if (w == NULL)
		return;
	buf_release(&w->note);
	buf_release(&w->line);
	buf_release(&w->claim);
	buf_release(&w->request.body);
	free(w);
}
