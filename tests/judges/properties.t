#!/bin/bash
# java.util.Properties of the JDK that is here: 50,000 random texts, of which we refuse just what it refuses, and keys given twice.
#   TRIMTAB_SEED   another seed than 1
# Build: release/codec_verdicts
. "$(dirname "$0")/lib.sh"
command -v java >/dev/null && command -v javac >/dev/null || skip "properties needs a JDK"
mkdir "$DIR/texts"
java "$ROOT/tests/judges/Properties.java" "$DIR/texts" 50000 "${TRIMTAB_SEED:-1}" >"$DIR/theirs" 2>"$DIR/judge.log"
ok $? "the JDK reads them"
seq 0 49999 | sed "s,^,text/x-java-properties $DIR/texts/," | "$BIN/../tests/helpers/codec_verdicts" >"$DIR/said" 2>>"$DIR/judge.log"
ok $? "and so do we"
sed 's/^good$/=/; /^=$/!s/.*/bad/; s/^=$/good/' "$DIR/said" >"$DIR/ours"
paste "$DIR/theirs" "$DIR/ours" "$DIR/said" | awk '$1 != $2 { print NR - 1 ": " $0; n++ } END { exit n > 0 }' >"$DIR/differ"
status=$?
for i in $(head -n 5 "$DIR/differ" | cut -d: -f1); do
    { sed -n "$((i + 1))p" "$DIR/said"; od -c "$DIR/texts/$i"; } >>"$DIR/judge.log"
done
ok $status "the verdicts are the same: $(grep -c good "$DIR/theirs") of 50000 are good"
finish
