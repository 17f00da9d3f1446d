#ifndef SERVER_RECEIPT_H
#define SERVER_RECEIPT_H

/*
 * What a sender may keep of his own posts: sequence number and leaf hash of
 * each, read from the journal, which is not changed.
 */

#include <stdint.h>

#include "base/buf.h"

struct conf;
struct json_t;

struct receipt_select {
	const char *user;
	const char *room; /* name, identifier or URI; NULL: all */
	uint64_t since;   /* microseconds since 1970 */
	uint64_t chat;    /* 0: all */
};

/*
 * {"origin","user","unknown","receipts":[{"seq","time","hash","room",
 * "roomname","chat","signed"}]}; NULL with the reason.
 */
struct json_t *receipt_list(const struct conf *conf,
    const struct receipt_select *select, char *why, size_t why_len);

#endif
