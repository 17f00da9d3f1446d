#ifndef ADAPTERS_SPOOL_H
#define ADAPTERS_SPOOL_H

/*
 * The events of one batch, kept in an unlinked file while the batch comes
 * in, so that an archive can be written in any order without holding the
 * batch in memory: eight bytes an event are held.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/adapter.h"
#include "adapters/message.h"

struct spool;

/* In a folder with room for it; NULL with errno. */
struct spool *spool_new(const char *directory);
/* Appends the event's protocol object as a line. 0 or -1 with errno. */
int spool_add(struct spool *s, const struct adapter_event *e);
/* Events so far. */
size_t spool_count(const struct spool *s);
/* Bytes of all lines with their LFs. */
uint64_t spool_bytes(const struct spool *s);
/* SHA-256 over all lines with their LFs; 0 or -1 with errno. */
int spool_digest(struct spool *s, uint8_t sha256[ADAPTER_HASH_LEN]);
/* The i-th line without its LF, borrowed until the next call. */
int spool_line(struct spool *s, size_t i, struct view *line);
/* The i-th event in m, which owns it. 0 or -1 with errno. */
int spool_event(struct spool *s, size_t i, struct message *m);
/* The file goes with it. NULL is allowed. */
void spool_free(struct spool *s);

#endif
