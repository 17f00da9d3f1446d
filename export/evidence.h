#ifndef EXPORT_EVIDENCE_H
#define EXPORT_EVIDENCE_H

/*
 * chancery-export evidence: the exact records of journals and archives, once
 * each, in sequence order, as the lines of chancery-adapter(7).
 */

/* argv[0] is the command's word. An exit status. */
int evidence_main(int argc, char **argv);

#endif
