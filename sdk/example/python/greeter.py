#!/usr/bin/python3 -B
"""A handler for mlist in Python: the stage "greeter" holds posts without a subject, and
says in the others' header, and at the end of their body if it is plain text, who was here.

It needs Debian's python3-grpcio and python3-protobuf, and plugin_pb2.py beside it, which
`make` makes of the contract, sdk/proto/plugin.proto. sdk/handshake.go has the rest.
"""
import email.parser, json, os, signal, sys, tempfile, threading
from concurrent import futures

if os.environ.get("MLIST_PLUGIN") != "6b7f3f0e-a-handler-of-posts":
    sys.exit("greeter is a plugin of mlist. It is not run by hand: put it in the plugin directory.")

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import grpc
import plugin_pb2 as pb

STAGE = "greeter"
config = {"greeting": "Greetings from Python."}  # [plugin.greeter], with its defaults

def decide(request, answer):
    """What this handler is about: it looks at the post, edits it, and gives a verdict."""
    header = email.parser.BytesHeaderParser().parsebytes(request.header)
    if not str(header.get("Subject", "")).strip() and not request.approved:
        answer.verdict.kind = pb.Verdict.HOLD
        answer.verdict.code, answer.verdict.reason = "no-subject", "The post has no subject."
        return
    answer.verdict.kind = pb.Verdict.ACCEPT
    answer.header_ops.add(kind=pb.HeaderOp.APPEND, name="X-Greeting", value=config["greeting"])
    if "Content-Type" not in header and "Content-Transfer-Encoding" not in header:
        # The body is in a file; what is sent back is what changes. Earlier stages may
        # have changed its length.
        end = request.body.length
        for splice in request.body.splices:
            end += len(splice.insert) - splice.delete
        answer.splices.add(offset=end, insert=b"\r\n-- \r\n" + config["greeting"].encode() + b"\r\n")

def describe(request, context):
    key = pb.ConfigKey(name="greeting", kind="a string", default=json.dumps(config["greeting"]), help="what it says")
    stage = pb.Stage(name=STAGE, help="greets, in Python", needs=["body"], config=[key])
    return pb.DescribeReply(name="greeter", version="1.0", stages=[stage])

def configure(request, context):
    reply = pb.ConfigureReply()
    for stage, table in request.config.items():
        try:
            keys = json.loads(table)
        except ValueError as wrong:
            reply.problems.append(f"[plugin.{stage}] {wrong}")
            continue
        for key, value in keys.items():
            if stage != STAGE or key not in config:
                reply.problems.append(f"[plugin.{stage}] {key}: unknown key")
            elif not isinstance(value, str) or not value.isascii() or not value.isprintable():
                reply.problems.append(f"[plugin.{stage}] {key}: want a string of ASCII")
            else:
                config[key] = value
    return reply

def handle(request, context):
    reply = pb.HandleReply()
    for stage in request.stages:
        if stage != STAGE:  # an error means: try the post again later
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"stage {stage}: there is none of that name")
        decide(request, reply.results.add(stage=stage))
    return reply

def counted(request, context):
    with idle:
        calls.add(context)
    try:
        return handle(request, context)
    finally:
        with idle:
            calls.remove(context)
            idle.notify_all()

def drain(request, context):
    with idle:
        idle.wait_for(lambda: not calls)
    return pb.DrainReply()

def hang(lifeline):
    os.read(lifeline, 1)  # nothing is ever written: it ends when mlist does
    os._exit(0)

calls, idle, over = set(), threading.Condition(), threading.Event()
signal.signal(signal.SIGTERM, lambda *_: None)  # mlist gets it too, and says when it is done
if "MLIST_PLUGIN_LIFELINE" in os.environ:
    threading.Thread(target=hang, args=(int(os.environ["MLIST_PLUGIN_LIFELINE"]),), daemon=True).start()

def serve(method, request, reply):
    return grpc.unary_unary_rpc_method_handler(method, request.FromString, reply.SerializeToString)

raw = grpc.unary_unary_rpc_method_handler  # for what has no message in plugin_pb2
server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 16 << 20)])
server.add_generic_rpc_handlers((
    grpc.method_handlers_generic_handler("mlist.plugin.v1.Plugin", {
        "Describe": serve(describe, pb.DescribeRequest, pb.DescribeReply),
        "Configure": serve(configure, pb.ConfigureRequest, pb.ConfigureReply),
        "Handle": serve(counted, pb.HandleRequest, pb.HandleReply),
        "Health": serve(lambda *_: pb.HealthReply(), pb.HealthRequest, pb.HealthReply),
        "Drain": serve(drain, pb.DrainRequest, pb.DrainReply)}),
    # What go-plugin asks for; the messages are so small that their octets stand here.
    grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": raw(lambda *_: b"\x08\x01")}),
    grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": raw(lambda *_: over.set() or b"")})))
socket = os.path.join(tempfile.mkdtemp(dir=os.environ.get("PLUGIN_UNIX_SOCKET_DIR")), "socket")
server.add_insecure_port("unix:" + socket)
server.start()
print(f"1|1|unix|{socket}|grpc", flush=True)  # the handshake; nothing else may come before
while not over.wait(1):  # in pieces, so that Python sees signals
    pass
server.stop(0.5).wait()
