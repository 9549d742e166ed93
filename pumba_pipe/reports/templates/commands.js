// Commands that open an image and its mask in other programs, to be copied.

// Quoted for a shell where it needs to be.
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

// Where the page lies on this machine; nothing where it comes from a server.
function folder() {
  if (location.protocol !== 'file:') return '';
  const path = decodeURIComponent(location.pathname).replace(/[^/]*$/, '');
  return path.replace(/^\/(?=[A-Za-z]:)/, ''); // on Windows a drive comes first
}

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code);
    if (!document.execCommand('copy')) return 'press Ctrl+C';
  }
  return 'copied';
}

for (const list of document.querySelectorAll('.commands')) {
  const paths = { IMAGE: list.dataset.image, MASK: list.dataset.mask };
  for (const code of list.querySelectorAll('code')) {
    code.textContent = code.dataset.command.replace(
      /\b(IMAGE|MASK)\b/g,
      (name) => quoted(folder() + paths[name]),
    );
    const button = code.parentElement.querySelector('button');
    button.hidden = false;
    button.addEventListener('click', async () => {
      button.textContent = await copy(code);
      setTimeout(() => { button.textContent = 'copy'; }, 2000);
    });
  }
}
