#!/usr/bin/env node
"use strict";

import def, { named } from "./module.js"; // not about what follows
const { destructured, other = () => 1 } = require("x");

// About plain,
// in two lines.
function plain(a, b = () => {}, { c } = {}) {
  return a;
}

/*
 * Not about what follows: there is an empty line.
 */

async function waits() { await plain(); }
function* counts() {
  yield* other();
}
async function* streams() { for await (const x of y) { function inLoop() {} } }

/** About Animal. */
class Animal extends mixin(Base, class { inArgument() {} }) {
  static #count = 0;
  name = "x";
  'quoted' = () => 1;

  constructor(name) {
    super(name);
    this.name = name;
  }

  /**
   * About speak.
   * @returns {string}
   */
  speak() { return `${this.name} ${(function inTemplate() {})()}`; }

  get size() { return 1; }
  set size(value) {}
  static get
    total() { return 1; }
  static async *walk() {}
  #hidden() {}
  static #also() {}
  async() {}
  get() {}
  static() {}
  "string-name"() {}
  "string name"() {}
  12() {}
  1.5() {}
  [computed]() {
    const inComputed = () => {};
  }
  onClick = (event) => {
    this.#hidden();
  }; // not about the next
  static handler = async function () {};
  #arrow = x => x;
  [computed] = () => {};
  Inner = class {
    method() {}
  };
  @decorated() field = () => 1;
  @log
  @bound decorated() {}

  static {
    function inStatic() {}
    const arrow = () => 1;
  }
}

const arrow = () => 1, notThis = 1, generator = function* () {};
let single = (a) =>
  a + 1;
var old = function namedDifferently() {
  function inner() {
    return () => function unbound() {};
  }
  return inner;
};
const Expression = class extends Animal {
  speak() { super.speak(); }
};
const parenthesised = (function () {});

module.exports = function () {};
exports.assigned = () => {
  function inAssigned() {}
};
Animal.prototype.added = function () {};
const object = {
  method() { class InObject {} },
  arrow: () => {},
  get getter() { return 1; },
};

(function iife() {
  var inIife = function () {};
})();

if (plain) {
  function conditional() {}
} else {
  function conditional() {}
}
try {
  throwing();
  function inTry() {}
} catch { function inCatch() {} } finally {
  function inFinally() {}
}
switch (plain) {
  case 1:
    function inCase() {}
  default: class InDefault {}
}
for (const f = () => 1; ; ) break;

export function exported() {}
/** About the constant. */
export const EXPORTED = () => {};
export class ExportedClass { static m() {} }
export { plain as renamed };
export default async (a) => {
  await a?.b?.(new Animal.Inner());
};
export let $dollar = () => <div>{function unboundInJsx() {}}</div>, _under;
const größe = () => 1; function second() {} // two on a line
const Component = ({ children }) => (
  <Layout.Main onClick={() => { function inJsx() {} }}>{children}</Layout.Main>
) // a comment before the line ends
