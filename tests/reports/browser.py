"""Drives Chromium through a pipe, by its DevTools protocol: no package and no port is needed."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time

CHROMIUM = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)
KEYS = {'Escape': 27, 'PageUp': 33, 'PageDown': 34, 'Home': 36, 'ArrowLeft': 37, 'ArrowUp': 38,
        'ArrowRight': 39, 'ArrowDown': 40}  # fmt: skip
SECONDS = 60  # to wait for an answer, or for something on a page


def moved(handle):
    """Give an open file a number above those that matter to a child."""
    copy = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(handle)
    return copy


class Browser:
    """A browser without a window and without network; a context manager.

    Parameters
    ----------
    folder : Path
        For its profile and its downloads.
    width, height : int
        Of its window, in CSS pixels.
    """

    def __init__(self, folder, width=1200, height=1000):
        self.folder = folder
        self.size = (width, height)
        self.sent = 0
        self.buffer = b''

    def __enter__(self):
        # Chromium reads from 3 and writes to 4: the pipes must not be these already
        child_reads, self.writes = (moved(handle) for handle in os.pipe())
        self.reads, child_writes = (moved(handle) for handle in os.pipe())
        words = [
            CHROMIUM, '--headless', '--no-sandbox', '--hide-scrollbars', '--mute-audio',
            f'--user-data-dir={self.folder / "profile"}', '--disable-gpu', '--no-first-run',
            '--host-resolver-rules=MAP * ~NOTFOUND', '--remote-debugging-pipe', 'about:blank',
        ]  # fmt: skip
        shell = f'exec 3<&{child_reads} 4>&{child_writes}; exec "$@"'
        self.process = subprocess.Popen(
            ['bash', '-c', shell, 'bash', *words],
            pass_fds=(child_reads, child_writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_reads)
        os.close(child_writes)
        os.set_blocking(self.reads, False)
        self.session = None
        (target, *_) = [
            one
            for one in self.ask('Target.getTargets')['targetInfos']
            if one['type'] == 'page'
        ]  # fmt: skip
        attached = self.ask('Target.attachToTarget', targetId=target['targetId'], flatten=True)
        self.session = attached['sessionId']
        self.ask('Page.enable')
        self.resize(*self.size)
        return self

    def __exit__(self, *error):
        os.close(self.writes)
        os.close(self.reads)
        self.process.terminate()
        self.process.wait(30)

    def ask(self, method, **parameters):
        """Send a command and return its answer."""
        self.sent += 1
        message = {'id': self.sent, 'method': method, 'params': parameters}
        if self.session:
            message['sessionId'] = self.session
        os.write(self.writes, json.dumps(message).encode() + b'\0')
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            answer = self._next_message()
            if answer is None:
                time.sleep(0.01)
            elif answer.get('id') == self.sent:
                assert 'error' not in answer, (method, answer['error'])
                return answer['result']
        raise TimeoutError(method)

    def _next_message(self):
        while b'\0' not in self.buffer:
            try:
                more = os.read(self.reads, 1 << 20)
            except BlockingIOError:
                return None
            assert more, 'the browser has ended'
            self.buffer += more
        message, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(message)

    def resize(self, width, height):
        """Give the page another size, as on another screen."""
        self.ask(
            'Emulation.setDeviceMetricsOverride',
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def open(self, path, place=''):
        """Open a page of this disk."""
        self.ask('Page.navigate', url=path.as_uri() + place)
        self.wait_for('document.readyState === "complete"')

    def run(self, script):
        """Evaluate a script on the page and return its value."""
        answer = self.ask(
            'Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def wait_for(self, script):
        """Wait until a script gives something true, and return that."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            found = self.run(script)
            if found:
                return found
            time.sleep(0.05)
        raise TimeoutError(script)

    def press(self, *keys):
        """Press keys where the focus is, one after the other."""
        for key in keys:
            text = key if len(key) == 1 else ''
            number = KEYS.get(key, 0)
            for kind, typed in (('keyDown', text), ('keyUp', '')):
                self.ask(
                    'Input.dispatchKeyEvent', type=kind, key=key, code=key, text=typed,
                    windowsVirtualKeyCode=number,
                )  # fmt: skip

    def click(self, selector):
        """Click into the middle of an element, with the mouse, once it stays where it is."""
        x, y = self.run(
            f'(async () => {{ const one = document.querySelector({json.dumps(selector)});'
            'one.scrollIntoView({ block: "center" });'
            'const frame = () => new Promise((next) => requestAnimationFrame(next));'
            'for (let before = null;;) {'
            '  await frame(); await frame();'
            '  const box = one.getBoundingClientRect();'
            '  if (before && box.top === before.top && box.left === before.left)'
            '    return [box.left + box.width / 2, box.top + box.height / 2];'
            '  before = box; } })()'
        )
        for kind in ('mousePressed', 'mouseReleased'):
            self.ask('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def save_downloads(self):
        """Put files that the page exports into a folder, and return it."""
        place = self.folder / 'downloads'
        place.mkdir(exist_ok=True)
        session, self.session = self.session, None
        self.ask('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(place))
        self.session = session
        return place

    def screenshot(self, path, whole=False):
        """Write what is seen, or the whole page, into a PNG file."""
        taken = self.ask('Page.captureScreenshot', format='png', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken['data']))
