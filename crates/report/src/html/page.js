"use strict";
(() => {
  const controls = document.getElementById("controls");
  if (!controls) return;
  const list = document.getElementById("findings");
  const [text, confidence, rule, group, shown, none] =
    ["text", "confidence", "rule", "group", "shown", "none"].map((id) => document.getElementById(id));
  const severities = [...controls.querySelectorAll("[name=severity]")];
  const articles = [...list.children];
  const texts = articles.map((article) => article.textContent.toLowerCase());

  // Findings of earlier versions have none, and "any" is before all of them.
  const levels = ["low", "medium", "high"];

  // What a group is called: of a secret, where it stands first; of a file, the path as it is shown there.
  const title = (key, first) => {
    if (group.value === "path") {
      const path = first.querySelector(".place code").cloneNode(true);
      path.querySelector(".line").remove();
      return path;
    }
    if (group.value !== "secret") return key || "none";
    const mark = first.querySelector("mark");
    return `${mark ? mark.textContent : "secret"} (${key.slice(0, 12)})`;
  };

  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = new Set(severities.filter((box) => !box.checked).map((box) => box.value));
    const least = levels.indexOf(confidence.value);
    let count = 0;
    articles.forEach((article, index) => {
      const matches = !off.has(article.dataset.severity)
        && levels.indexOf(article.dataset.confidence) >= least
        && (!rule.value || article.dataset.rule === rule.value)
        && words.every((word) => texts[index].includes(word));
      article.hidden = !matches;
      count += matches;
    });
    for (const section of list.querySelectorAll("section")) {
      const visible = section.querySelectorAll("article:not([hidden])").length;
      section.hidden = visible === 0;
      section.querySelector("h2 span").textContent = visible;
    }
    shown.textContent = `${count} of ${articles.length}`;
    none.hidden = count > 0;
  };

  const arrange = () => {
    if (!group.value) {
      list.replaceChildren(...articles);
      return;
    }
    const groups = Map.groupBy
      ? Map.groupBy(articles, (article) => article.dataset[group.value])
      : articles.reduce((map, article) => {
        const key = article.dataset[group.value];
        return map.set(key, [...(map.get(key) || []), article]);
      }, new Map());
    // In the order of their first findings, which is worst first; but those of a scale in its order.
    const ordered = [...groups];
    if (group.value === "confidence") ordered.sort(([a], [b]) => levels.indexOf(b) - levels.indexOf(a));
    list.replaceChildren(...ordered.map(([key, members]) => {
      const section = document.createElement("section");
      const heading = document.createElement("h2");
      heading.append(title(key, members[0]), " ", document.createElement("span"));
      section.append(heading, ...members);
      return section;
    }));
  };

  controls.addEventListener("submit", (event) => event.preventDefault());
  group.addEventListener("change", arrange);
  controls.addEventListener("change", filter);
  text.addEventListener("input", filter);
  document.getElementById("reset").addEventListener("click", () => {
    controls.reset();
    arrange();
    filter();
    // The button is gone.
    text.focus();
  });
  controls.hidden = false;
  // A reload may have kept what was entered.
  arrange();
  filter();
})();
