#ifndef EXPORT_PROVE_H
#define EXPORT_PROVE_H

/*
 * chancery-export prove: one record with the proof that it is in the journal,
 * chancery-journal(5), PROOF.
 */

/* argv[0] is the command's word. An exit status. */
int prove_main(int argc, char **argv);

#endif
