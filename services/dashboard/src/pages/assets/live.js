// Keeps a page as it would be if it were loaded now, and says at once what a field lacks. All else works without it.
"use strict";

(() => {
  const topics = document.body.dataset.topics;
  // Often enough to be in step within a second, seldom enough while thousands of records change.
  const PAUSE_MS = 400;
  let waiting = null;
  let last = 0;
  let isFetching = false;
  let isStale = false;

  const isTouched = (part) => {
    const active = document.activeElement;
    const types = active && part.contains(active) && active.matches("input, select, textarea");
    return types || part.querySelector("input:checked[data-pick], details[open]") !== null;
  };

  const swap = (page) => {
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = page.getElementById(old.id);
      if (!next || next.innerHTML === old.innerHTML || isTouched(old)) continue;
      const focused = old.contains(document.activeElement) ? focusKey(old) : null;
      old.innerHTML = next.innerHTML;
      if (focused) refocus(old, focused);
    }
    const said = page.querySelector("[data-say]");
    const announce = document.getElementById("announce");
    if (said && announce && announce.textContent !== said.dataset.say) announce.textContent = said.dataset.say;
  };

  // What has the focus, so that it has it again when its part is another: the same link, or the same button in order.
  const focusable = "a[href], button, summary, input, select, textarea";
  const focusKey = (part) => {
    const active = document.activeElement;
    return { href: active.getAttribute("href"), index: [...part.querySelectorAll(focusable)].indexOf(active) };
  };
  const refocus = (part, key) => {
    const all = [...part.querySelectorAll(focusable)];
    const found = key.href ? all.find((element) => element.getAttribute("href") === key.href) : null;
    (found || all[key.index])?.focus({ preventScroll: true });
  };

  const refresh = async () => {
    if (isFetching) {
      isStale = true;
      return;
    }
    isFetching = true;
    try {
      const answer = await fetch(location.href, { headers: { "x-live": "1" } });
      if (answer.status === 401) location.reload();
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The dashboard is away; the stream of events says when it is back.
    }
    isFetching = false;
    if (isStale) {
      isStale = false;
      refresh();
    }
  };

  const soon = () => {
    if (waiting || document.hidden) return;
    waiting = setTimeout(() => {
      waiting = null;
      last = Date.now();
      refresh();
    }, Math.max(20, last + PAUSE_MS - Date.now()));
  };

  if (topics) {
    const events = new EventSource("/live?topics=" + encodeURIComponent(topics));
    events.addEventListener("changed", soon);
    // What happened while the connection was away, or the page was on its way here, was told to nobody.
    events.addEventListener("open", soon);
    document.addEventListener("visibilitychange", soon);
    window.addEventListener("pagehide", () => events.close());
  }

  // Fields that the server can check while somebody types: `data-check` is where.
  for (const field of document.querySelectorAll("[data-check]")) {
    const hint = document.getElementById(field.getAttribute("aria-describedby"));
    const usual = hint.textContent;
    let timer = null;
    const check = async () => {
      const asked = new URLSearchParams(new FormData(field.form));
      asked.delete("csrf");
      const value = field.value;
      const answer = await fetch(field.dataset.check + "?" + asked, { headers: { "x-live": "1" } }).catch(() => null);
      if (!answer?.ok || value !== field.value) return;
      const { error, hint: said } = await answer.json();
      field.setAttribute("aria-invalid", String(Boolean(error)));
      hint.textContent = error || said || usual;
      hint.className = "hint " + (error ? "bad" : said ? "good" : "");
    };
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(check, 200);
    });
    for (const other of document.querySelectorAll(`[data-with="${field.id}"]`)) other.addEventListener("change", check);
  }

  // Choosing all rows at once, and how many are chosen.
  document.addEventListener("change", (event) => {
    const all = event.target.closest("[data-pick-all]");
    const picks = [...document.querySelectorAll("[data-pick]")];
    if (all) for (const pick of picks) pick.checked = all.checked;
    const count = picks.filter((pick) => pick.checked).length;
    for (const shown of document.querySelectorAll("[data-picked]")) shown.textContent = count ? count + " selected" : "";
  });

  // What can't be undone asks first.
  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
})();
