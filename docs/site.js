// What the theme makes as the page is shown, for those who do not see it: many landmarks of one name are none.
function mend() {
  document.querySelectorAll(".md-code__nav").forEach((nav) => nav.setAttribute("role", "none"));
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((wide) => { wide.tabIndex = 0; });
}
mend();
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
// A browser gives a page from disk no search index.
if (location.protocol === "file:") document.querySelectorAll(".md-search, [for=__search]").forEach((part) => part.remove());
