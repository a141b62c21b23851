// What is shown and what is held: canvases, keyboard, mouse, touch.

const NAMED = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
  Space: "space", ShiftLeft: "shift", ShiftRight: "shift",
};
const MOUSE = ["mouse left", "mouse middle", "mouse right"];

// A canvas that shows pictures in the order in which they came, however long decoding takes.
export class Screen {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.asked = 0;
    this.shown = 0;
  }

  async show(picture, done) {
    const turn = ++this.asked;
    const bitmap = await createImageBitmap(new Blob([picture]));
    if (turn < this.shown) return bitmap.close();
    this.shown = turn;
    const { canvas } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    done?.();
  }
}

// Keys that are held, and how far the mouse or a finger went since it was last asked.
//
// A click catches the mouse: it then turns the camera until Esc lets it go. Where a browser does
// not let pages catch it, dragging does the same, as with a finger.
export class Held {
  constructor(canvas, { onpress, onturn, onfree }) {
    this.canvas = canvas;
    this.onpress = onpress;
    this.onturn = onturn; // a drag has ended
    this.onfree = onfree; // the mouse was caught, and is not any more
    this.dragging = null; // the pointer that drags, and where it was
    this.keys = [];
    this.known = new Set();
    this.mouse = [0, 0];
    this.camera = false;
    addEventListener("keydown", (event) => this.down(event));
    addEventListener("keyup", (event) => this.release(nameOf(event)));
    addEventListener("blur", () => this.clear());
    canvas.addEventListener("pointerdown", (event) => this.pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.pointerMove(event));
    canvas.addEventListener("pointerup", (event) => this.pointerUp(event));
    canvas.addEventListener("pointercancel", (event) => this.pointerUp(event));
    document.addEventListener("pointerlockchange", () => this.lockChanged());
    canvas.addEventListener("contextmenu", (event) => this.camera && event.preventDefault());
  }

  use(controls) {
    this.known = new Set(controls.bindings.flatMap((binding) => binding.keys));
    this.camera = controls.mouse;
    this.clear();
  }

  press(key) {
    if (!this.known.has(key) || this.keys.includes(key)) return;
    this.keys.push(key); // in order: of opposites the last one counts
    this.changed();
    this.onpress(key);
  }

  release(key) {
    this.keys = this.keys.filter((held) => held !== key);
    this.changed();
  }

  clear() {
    this.keys = [];
    this.mouse = [0, 0];
    this.dragging = null;
    this.changed();
  }

  get caught() {
    return document.pointerLockElement === this.canvas;
  }

  letGo() {
    if (this.caught) document.exitPointerLock();
  }

  lockChanged() {
    this.canvas.classList.toggle("caught", this.caught);
    this.mouse = [0, 0];
    this.dragging = null;
    if (this.caught) return;
    MOUSE.forEach((button) => this.release(button)); // nobody tells of those let go elsewhere
    this.onfree();
  }

  changed() {
    for (const pad of document.querySelectorAll("#pad button")) {
      pad.classList.toggle("held", pad.dataset.keys.split(",").some((k) => this.keys.includes(k)));
    }
  }

  takeMouse() {
    const moved = this.mouse.map((value) => Math.round(value * 100) / 100);
    this.mouse = [0, 0];
    return moved;
  }

  down(event) {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest?.("input, select, textarea, dialog")) return;
    const name = nameOf(event);
    if (target.closest?.("button, a, summary") && (name === "space" || event.key === "Enter")) return;
    if (!this.known.has(name)) return;
    event.preventDefault(); // arrows and the space bar would scroll
    if (!event.repeat) this.press(name);
  }

  pointerDown(event) {
    this.canvas.focus({ preventScroll: true });
    if (!this.camera) return;
    if (this.caught) return this.press(MOUSE[event.button]);
    if (this.dragging || event.button !== 0) return;
    this.dragging = { id: event.pointerId, x: event.clientX, y: event.clientY, far: 0 };
    try {
      this.canvas.setPointerCapture(event.pointerId); // on, even beyond the edge
    } catch { /* the finger is gone already */ }
    // Older browsers return nothing; a refusal leaves the drag.
    if (event.pointerType === "mouse") this.canvas.requestPointerLock?.()?.catch?.(() => {});
  }

  pointerMove(event) {
    if (!this.camera) return;
    const { dragging } = this;
    if (this.caught) {
      this.mouse[0] += event.movementX;
      this.mouse[1] += event.movementY;
    } else if (dragging?.id === event.pointerId) {
      // Not movementX: for fingers it is 0 in some browsers, and in others counts screen pixels.
      const right = event.clientX - dragging.x, down = event.clientY - dragging.y;
      this.mouse[0] += right;
      this.mouse[1] += down;
      Object.assign(dragging, { x: event.clientX, y: event.clientY });
      dragging.far += Math.abs(right) + Math.abs(down);
    }
  }

  pointerUp(event) {
    if (event.pointerType === "mouse") this.release(MOUSE[event.button]);
    if (this.dragging?.id !== event.pointerId) return;
    const { far } = this.dragging;
    this.dragging = null;
    if (far) this.onturn();
  }
}

function nameOf(event) {
  if (event.code in NAMED) return NAMED[event.code];
  if (event.code.startsWith("Digit")) return event.code.slice(5);
  return event.key.toLowerCase();
}
