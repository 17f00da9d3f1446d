#ifndef EXPORT_SELECT_H
#define EXPORT_SELECT_H

/* Which records an auditor asked for. */

#include <stdbool.h>
#include <stdint.h>

#include "export/item.h"

struct select {
	const char *room; /* name, GUID or URI; NULL: any */
	const char *user; /* URI with or without "sip:"; NULL: any */
	unsigned kind;    /* 0: any */
	uint64_t since;   /* inclusive; 0: from the beginning */
	uint64_t until;   /* exclusive; UINT64_MAX: to the end */
};

enum select_verdict {
	SELECT_NO,
	SELECT_YES,
	SELECT_UNKNOWN, /* purged: whose and where is no longer here */
};

/* Whether the record is one of those asked for. */
enum select_verdict select_item(const struct select *s, const struct item *i);

#endif
