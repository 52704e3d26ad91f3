import os, sys, socket, subprocess, time, signal
sys.path.insert(0,"/tmp/iso/src")
from hardpoint.isolation import wire
P=lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
c,cz=P(); e,ez=P()
t=time.perf_counter()
z=subprocess.Popen([sys.executable,"-m","hardpoint.isolation.zygote",str(os.getpid()),str(cz.fileno()),str(ez.fileno())],pass_fds=[cz.fileno(),ez.fileno()],env={**os.environ,"PYTHONPATH":"/tmp/iso/src"})
cz.close(); ez.close()
def worker(path):
    t=time.perf_counter()
    s,ws=P(); r,w=os.pipe(); lib=os.open(path,os.O_RDONLY)
    wire.send(c,0,(ws.fileno(),w,lib)); pid,(pidfd,)=wire.receive(c,1)
    ws.close(); os.close(w); os.close(lib)
    wire.send(s,[path,"greeter",1,0,[["greet(name: str) -> str",0,True],["lang() -> str",0,True]],None])
    print(pid, wire.receive(s)[0]); 
    wire.send(s,[0,"World"]); print(wire.receive(s)[0], "%.2f ms"%((time.perf_counter()-t)*1e3))
    return s,pid,pidfd
s,pid,pidfd=worker("/work/main/build/plugins/english.so")
print("first %.1f ms"%((time.perf_counter()-t)*1e3))
for _ in range(5): s,pid,pidfd=worker("/work/main/build/plugins/english.so")
def call(n):
    pack,unpack=wire.pack,wire.unpack
    buf=bytearray(1<<17); v=memoryview(buf); send,recv=s.send,s.recv_into
    t=time.perf_counter()
    for _ in range(n):
        send(pack([0,"World"])); k=recv(buf); r=unpack(v[:k])
    return (time.perf_counter()-t)/n*1e6
print("unpinned", call(20000))
os.sched_setaffinity(0,{0}); os.sched_setaffinity(pid,{0}); print("one core", min(call(20000) for _ in range(5)))
os.sched_setaffinity(pid,{1}); print("two cores", min(call(5000) for _ in range(3)))
os.kill(pid,signal.SIGSEGV); print(s.recv(10), wire.receive(e)[0])
for l in open(f"/proc/{z.pid}/smaps_rollup"):
    if l.startswith(("Rss","Pss:")): print("zygote",l.strip())
