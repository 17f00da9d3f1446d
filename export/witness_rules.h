#ifndef EXPORT_WITNESS_RULES_H
#define EXPORT_WITNESS_RULES_H

/*
 * What a witness answers: every check of chancery-witness(8), the state, and
 * the signature, which is made only of what is durable.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#include "export/witness_key.h"
#include "export/witness_store.h"

#define WITNESS_TEXT "text/plain; charset=utf-8"
#define WITNESS_SIZE "text/x.tlog.size"

struct witness {
	struct witness_store *store;
	const struct witness_key *key;
};

struct witness_answer {
	unsigned status; /* of HTTP */
	const char *type;
	struct buf body;
	char origin[VERIFY_NAME_MAX + 1]; /* "" unless it is a known log's */
	char why[320];                    /* of a refusal */
};

/* /add-checkpoint or, with is_link, /add-key; now: seconds since 1970. */
void witness_submit(const struct witness *w, struct view body, bool is_link,
    uint64_t now, struct witness_answer *out);
/* The newest checkpoint of the log whose origin has this hash in hex. */
void witness_newest(
    const struct witness *w, struct view hash, struct witness_answer *out);
/* Of no use to a rule: an answer with a line of text. */
void witness_refuse(struct witness_answer *out, unsigned status,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* `out` was zeroed, or released, before. */
void witness_answer_release(struct witness_answer *out);

#endif
