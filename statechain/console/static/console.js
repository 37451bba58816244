// Shows the buttons that copy, and keeps a page from being polled while it is not seen. Pages work without this.
const prepare = () => document.querySelectorAll("button.copy[hidden]").forEach((button) => (button.hidden = false));
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const source = button.parentElement.querySelector("pre, code");
  await navigator.clipboard.writeText(source.textContent);
  button.textContent = "Copied";
});
document.addEventListener("htmx:before:request", (event) => {
  const isTicked = document.querySelector("input[name=id]:checked");
  if (document.hidden || (isTicked && event.target.id === "main")) event.preventDefault();
});
document.addEventListener("htmx:after:swap", prepare);
prepare();
