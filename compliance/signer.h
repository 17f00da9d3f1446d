#ifndef COMPLIANCE_SIGNER_H
#define COMPLIANCE_SIGNER_H

/*
 * The signer holds the keys and the newest (size, root) it ever signed. It
 * signs a head only when that head provably adds to the last one, and writes
 * down what it is going to sign before it signs. It reads no journal. When an
 * epoch ends, its key signs the last checkpoint and is erased.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct conf;
struct signer;

/*
 * Makes dir/key and dir/next (0600) and dir/state for a new journal, and puts
 * its vkey into the buffer. 0, or -1 with the reason.
 */
int signer_init(const char *dir, const char *origin, struct buf *vkey,
    char *why, size_t why_len);

/* The last line of a state file: the machine that this is. */
void signer_put_machine(struct buf *out);
/*
 * The same for a new name of a journal. from: the folder of its last signer,
 * whose key of the announced digest (hexadecimal) becomes the first one, if
 * it is there.
 */
int signer_follow(const char *dir, const char *origin, const char *from,
    const char *announced, struct buf *vkey, char *why, size_t why_len);
/*
 * Makes a folder that is of another machine one of this, while no signer
 * runs; *moved tells. 0, or -1 with the reason.
 */
int signer_move(const char *dir, bool *moved, char *why, size_t why_len);

/*
 * Takes key and state, and a lock that keeps a second signer out. NULL with
 * the reason.
 */
struct signer *signer_open(const char *dir, char *why, size_t why_len);
/* Gives the lock back. NULL is allowed. */
void signer_close(struct signer *s);
/* Payload of WIRE_SIGNER: what was signed last, and the keys. */
void signer_put_hello(const struct signer *s, struct buf *out);

enum signer_verdict {
	SIGNER_SIGNED,
	SIGNER_REFUSED, /* rollback, fork, no proof, or storage failed */
	/*
	 * It failed after the head was written down: who asks must be told
	 * again what was signed last, by a signer that read its folder again.
	 */
	SIGNER_ANEW,
	SIGNER_MALFORMED /* not a request at all */
};
/*
 * Answers the payload of a WIRE_SIGN: the payload of WIRE_NOTE into `out`
 * when signed, else the reason into `why`.
 */
enum signer_verdict signer_sign(struct signer *s, struct view request,
    struct buf *out, char *why, size_t why_len);

/*
 * The same for WIRE_ROTATE and WIRE_KEY: makes the key after the next one
 * ready.
 */
enum signer_verdict signer_rotate(struct signer *s, struct view request,
    struct buf *out, char *why, size_t why_len);
/*
 * The same for WIRE_TURN: the present key signs its last checkpoint, or none
 * when the turn is not clean; it is erased, and the next key takes its place.
 */
enum signer_verdict signer_turn(struct signer *s, struct view request,
    struct buf *out, char *why, size_t why_len);

/* The role; returns its exit status. */
int signer_main(const struct conf *conf, int parent_fd);

#endif
