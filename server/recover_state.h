#ifndef SERVER_RECOVER_STATE_H
#define SERVER_RECOVER_STATE_H

/* What the files of chancery recover share; nobody else includes this. */

#include "compliance/journal_import.h"
#include "compliance/signer_look.h"

#include "server/recover.h"
#include "server/recover_source.h"

struct recover {
	const struct conf *conf;
	const struct recover_order *order;
	char *journal_path, *signer_path, *chat_path;
	struct journal *journal;
	char *rebuilt; /* the journal is made anew under this name */
	struct signer_seen signer;
	struct buf closing; /* the signer's last checkpoint of an epoch */
	char *why;
	size_t why_len;
};

/* Puts the reason into why; gives r. */
int recover_say(struct recover *r, int result, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/*
 * Opens the journal; without one, and with records to make it of, a new one
 * beside. 0, 1, -1.
 */
int recover_open_journal(struct recover *r, struct recover_source *source);
/* Whether key and journal belong together. */
int recover_check_identity(struct recover *r);
/* Reads the sources into the journal. 0, 1, -1. */
int recover_import(struct recover *r, struct recover_source *source,
    struct journal_import *import);
/* Closes the journal, and puts it in its place when it is a new one. */
int recover_finish_journal(struct recover *r);
/* A note in a file that the journal's key signed: 0, 1, -1. */
int recover_read_note(struct recover *r, const char *path, struct buf *text,
    uint64_t *size, uint8_t root[32]);
/* Gives a path to the user, and the group when not NULL, if we are root. */
int recover_give(struct recover *r, const char *path, const char *user,
    const char *group_of, unsigned mode);
/* recover_incarnation.c */
int recover_incarnation(struct recover *r, json_t **result);
/* recover_signer.c */
int recover_signer_state(struct recover *r, json_t **result);
int recover_moved(struct recover *r, json_t **result);

#endif
