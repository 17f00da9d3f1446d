#include "export/render.h"

#include <string.h>

const struct render *
render_find(const char *name)
{
	static const struct render *const all[] = {
	    &render_jsonl, &render_csv, &render_xml, &render_text};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}
