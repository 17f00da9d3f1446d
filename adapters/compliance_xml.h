#ifndef ADAPTERS_COMPLIANCE_XML_H
#define ADAPTERS_COMPLIANCE_XML_H

/*
 * Persistent Chat compliance XML: a Conversation for each room that a batch
 * touches, its joins, leaves, posts and history reads in order.
 */

#include <stdbool.h>

#include "adapters/adapter.h"
#include "adapters/spool.h"
#include "adapters/xml_out.h"

#define COMPLIANCE_XML_NS "urn:chancery:compliance:1"

/*
 * Writes the Conversation elements of the spool's events into an open
 * Conversations element. strict: only what the published schema allows,
 * otherwise attributes in our namespace (prefix c) add to it.
 */
bool compliance_xml_put(
    struct adapter *a, struct xml_out *x, struct spool *s, bool strict);

/*
 * The stable number of a user: the first 31 bits of SHA-256("sender/1\n"
 * and the URI), never 0. Two users may share one; the URI tells them apart.
 */
uint32_t compliance_xml_sender_id(const char *uri);

#endif
