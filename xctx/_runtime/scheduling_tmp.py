import sys, _thread


def current_hub():
    hubs = sys.modules.get("gevent._hub_local")
    if hubs is None:
        return None
    hub = hubs.get_hub_if_exists()
    return None if hub is None or hub is sys.modules["greenlet"].getcurrent() or hub.dead or hub.loop is None else hub


def getcurrent():
    return sys.modules["greenlet"].getcurrent()


def current_loop():
    e = sys.modules.get("asyncio.events")
    return None if e is None else e._get_running_loop()


def running_task():
    loop = current_loop()
    return None if loop is None else sys.modules["asyncio.tasks"].current_task(loop)


def start_system_thread(function, args=()):
    start = _thread.start_new_thread
    if "gevent.monkey" in sys.modules:
        start = sys.modules["gevent.monkey"].get_original("_thread", "start_new_thread")
    return start(function, args)
