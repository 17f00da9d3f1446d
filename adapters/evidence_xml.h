#ifndef ADAPTERS_EVIDENCE_XML_H
#define ADAPTERS_EVIDENCE_XML_H

/*
 * The evidence element of an XML archive: the batch's header and, for every
 * record, the bytes that were hashed. All of it in attributes: the built-in
 * rules of XSLT copy text, and a transform written for the published format
 * must not meet any.
 */

#include <stdbool.h>

#include "adapters/adapter.h"
#include "adapters/filing.h"
#include "adapters/spool.h"
#include "adapters/xml_out.h"

/* A side-car file states which rendering it stands beside. */
struct evidence_rendering {
	const char *name;
	uint8_t sha256[ADAPTER_HASH_LEN];
};

/* rendering: NULL when the element stands in the rendering itself. */
bool evidence_xml_put(struct adapter *a, struct xml_out *x,
    const struct adapter_config *c, const struct adapter_batch *b,
    struct spool *s, const struct evidence_rendering *rendering);

/* Finds the element wherever it stands; as filing_format.read. */
bool evidence_xml_read(int fd, filing_event_cb *cb, void *arg, struct buf *why);

#endif
