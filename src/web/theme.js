// Puts the remembered theme on the page before its first paint: a classic script in the head, because a module would
// come too late.
try {
  const theme = localStorage.getItem("chinwag.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's theme it is */ }
