// The timeline as the page knows it: moments, branches, and the pictures that were seen last.

const MOST_PICTURES = 32 * 2 ** 20; // bytes of pictures; the server is asked for others

export class Tree {
  constructor(described) {
    this.moments = new Map();
    this.branches = new Map();
    this.pictures = new Map(); // what was seen longest ago comes first
    this.bytes = 0;
    this.here = null;
    for (const branch of described?.branches ?? []) this.addBranch(branch);
    for (const [n, parent, branch, step, reward, total, uncertainty, ended, sampling] of
      described?.moments ?? []) {
      this.add({ n, parent, branch, step, reward, total, uncertainty, ended, sampling });
    }
  }

  addBranch({ id, name, fork }) {
    const known = this.branches.get(id);
    if (known) known.name = name;
    else this.branches.set(id, { id, name, fork, moments: [], colour: this.branches.size % 6 });
  }

  add(moment, picture) {
    if (!this.moments.has(moment.n)) {
      this.moments.set(moment.n, moment);
      this.branches.get(moment.branch)?.moments.push(moment.n);
    }
    if (picture) this.keep(moment.n, picture);
  }

  keep(n, picture) {
    this.drop(n);
    this.pictures.set(n, picture);
    this.bytes += picture.length;
    for (const old of this.pictures.keys()) {
      if (this.bytes <= MOST_PICTURES || old === n) break;
      this.drop(old);
    }
  }

  drop(n) {
    this.bytes -= this.pictures.get(n)?.length ?? 0;
    this.pictures.delete(n);
  }

  forget(ids) {
    for (const id of ids) {
      for (const n of this.branches.get(id)?.moments ?? []) {
        this.moments.delete(n);
        this.drop(n);
      }
      this.branches.delete(id);
    }
  }

  get now() {
    return this.moments.get(this.here);
  }

  // All moments from a start to the end of a branch.
  line(id) {
    const branch = this.branches.get(id);
    if (!branch) return [];
    if (branch.fork === null) return branch.moments;
    const fork = this.moments.get(branch.fork);
    return this.line(fork.branch).slice(0, fork.step + 1).concat(branch.moments);
  }

  // The line that the present moment is on: where it came from, and where its branch went on to.
  get current() {
    return this.now ? this.line(this.now.branch) : [];
  }

  first(id) {
    const branch = this.branches.get(id);
    return branch.fork === null ? 0 : this.moments.get(branch.fork).step;
  }

  // The step at which two branches part; 0 where they have no moment in common.
  fork(one, other) {
    const a = this.line(one), b = this.line(other);
    let step = 0;
    while (step + 1 < Math.min(a.length, b.length) && a[step + 1] === b[step + 1]) step++;
    return step;
  }
}

export function drawBranches(list, tree, compared, act) {
  let longest = 1;
  for (const moment of tree.moments.values()) longest = Math.max(longest, moment.step);
  const rows = [...tree.branches.values()].filter((b) => b.moments.length);
  const focused = document.activeElement?.dataset?.key;
  list.replaceChildren(...rows.map((branch) => {
    const tip = tree.moments.get(branch.moments.at(-1));
    const here = tree.now?.branch === branch.id;
    const row = element("li", `branch c${branch.colour}${here ? " here" : ""}`);
    const ended = tip.ended ? `, ${ending(tip)}` : "";
    const go = button(branch.name, `go${branch.id}`, () => act.go(tip.n));
    go.className = "go";
    if (here) go.setAttribute("aria-current", "true");
    const words = element("small");
    words.textContent = ` step ${tip.step}, return ${round(tip.total)}${ended}`;
    go.append(words);
    const tools = element("span", "tools");
    const compare = button("Beside", `beside${branch.id}`, () => act.compare(branch.id));
    compare.setAttribute("aria-pressed", String(compared === branch.id));
    compare.setAttribute("aria-label", `Show ${branch.name} beside`);
    compare.disabled = here;
    const name = button("Name", `name${branch.id}`, () => act.name(branch));
    name.setAttribute("aria-label", `Name ${branch.name}`);
    tools.append(compare, name);
    if (!here) {
      const forget = button("Forget", `forget${branch.id}`, () => act.forget(branch.id));
      forget.setAttribute("aria-label", `Forget ${branch.name}`);
      tools.append(forget);
    }
    const track = element("div", "track");
    const from = tree.first(branch.id);
    const bar = element("i");
    bar.style.left = `${(100 * from) / longest}%`;
    bar.style.width = `max(4px, ${(100 * (tip.step - from)) / longest}%)`;
    track.append(bar);
    if (here) {
      const mark = element("b");
      mark.style.left = `${(100 * tree.now.step) / longest}%`;
      track.append(mark);
    }
    row.append(go, tools, track);
    return row;
  }));
  if (focused) list.querySelector(`[data-key="${focused}"]`)?.focus();
}

export function element(name, className = "") {
  const made = document.createElement(name);
  made.className = className;
  return made;
}

export function button(text, key, onclick) {
  const made = element("button");
  made.type = "button";
  made.dataset.key = key;
  made.textContent = text;
  made.addEventListener("click", onclick);
  return made;
}

// How an episode ended, in words; nothing where it goes on.
export function ending(moment) {
  const reasons = { terminated: "ended", horizon: "time is up", uncertainty: "too uncertain" };
  return reasons[moment.ended] ?? moment.ended;
}

export function round(value) {
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(+value.toFixed(2));
}
