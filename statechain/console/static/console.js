// Shows the buttons that copy, and keeps a page from being polled while it is not seen. Pages work without this.
const textOf = (button) => button.parentElement.querySelector("pre, code").textContent;
let copied = null; // what was copied last: its button says so, also once a poll has replaced it
const prepare = () =>
  document.querySelectorAll("button.copy").forEach((button) => {
    button.hidden = false;
    button.textContent = textOf(button) === copied ? "Copied" : "Copy";
  });
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const text = textOf(button);
  await navigator.clipboard.writeText(text);
  copied = text;
  prepare();
});
document.addEventListener("htmx:before:request", (event) => {
  const isTicked = document.querySelector("input[name=id]:checked");
  if (document.hidden || (isTicked && event.target.id === "main")) event.preventDefault();
});
document.addEventListener("htmx:after:swap", prepare);
prepare();
