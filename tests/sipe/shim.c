/*
 * Debian 12's libxml2 ignores a SAX1 handler whose `initialized` field holds
 * the SAX2 magic number, and SIPE's handler is just that: without help no
 * XCCOS body is ever read. This function stands in front of libxml2's own
 * and clears the number. Nothing in the plugin's file is changed; results
 * obtained with this driver must say that it is in use.
 */

#include <dlfcn.h>
#include <stdlib.h>

#include <libxml/parser.h>

typedef int parse_memory(xmlSAXHandlerPtr, void *, const char *, int);

int
xmlSAXUserParseMemory(
    xmlSAXHandlerPtr sax, void *arg, const char *buffer, int size)
{
	static parse_memory *real;
	xmlSAXHandler copy;

	if (real == NULL)
		real =
		    (parse_memory *)dlsym(RTLD_NEXT, "xmlSAXUserParseMemory");
	if (real == NULL)
		abort();
	copy = *sax;
	copy.initialized = 1;
	return real(&copy, arg, buffer, size);
}
