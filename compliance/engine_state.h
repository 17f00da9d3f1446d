#ifndef COMPLIANCE_ENGINE_STATE_H
#define COMPLIANCE_ENGINE_STATE_H

/* Inside of the engine, shared by engine.c and command.c only. */

#include <uv.h>

#include "base/conf.h"
#include "base/role.h"

#include "compliance/adapter_link.h"
#include "compliance/anchors.h"
#include "compliance/audit.h"
#include "compliance/control.h"
#include "compliance/keeper_link.h"
#include "compliance/ledger.h"
#include "compliance/purger.h"
#include "compliance/scan.h"
#include "compliance/server_link.h"

/* A link that came before the journal could be read. */
struct engine_link {
	struct engine_link *next;
	char *peer; /* own copy */
	int fd;
};

struct engine {
	uv_loop_t loop;
	struct audit_env audit_env;
	struct audit *audit;
	const struct conf *conf;
	char *journal; /* its path */
	struct role *role;
	struct scan *scan;     /* for the status; NULL until it can be opened */
	struct ledger *ledger; /* opened together with scan */
	uv_timer_t open_timer;
	struct engine_link *waiting; /* empty once ledger is set */
	struct keeper_link *keeper;
	struct server_link *server;
	struct control *control;
	struct adapter_env adapter_env;
	struct adapter_link **adapters; /* in the configuration's order */
	struct purger_env purger_env;
	struct purger *purger;
	unsigned surveys; /* under way, each with files open */
	struct anchors_env anchors_env;
	struct anchors *anchors;
};

/* A command of the control socket; struct engine as arg. */
control_command_cb command_run;

#endif
