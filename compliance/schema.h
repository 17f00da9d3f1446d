#ifndef COMPLIANCE_SCHEMA_H
#define COMPLIANCE_SCHEMA_H

/* The tables of journal.db and the triggers that keep them append-only. */

#define SCHEMA_APPLICATION_ID 0x43484E43 /* "CHNC" */
#define SCHEMA_VERSION 2

/*
 * Makes all tables, indices and views in an empty database; then the triggers,
 * which are in force from there on.
 */
extern const char schema_tables_sql[];
extern const char schema_triggers_sql[];

#endif
