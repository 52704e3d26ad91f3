import sys, os, time, subprocess; sys.path[:0]=["/tmp/iso/src","/tmp/iso/tests"]
import hardpoint, logging
from hardpoint.isolation.options import Isolation
from hostile import Hostile
from hardpoint.header import render
from hardpoint.definition import contract_of
os.makedirs("/tmp/hostile",exist_ok=True)
open("/tmp/hostile/hostile.h","w").write(render(contract_of(Hostile)))
subprocess.run("gcc -std=gnu11 -O1 -Wall -Wno-infinite-recursion -Wextra -fPIC -shared -pthread -I/tmp/hostile -I/tmp/iso/contract /tmp/iso/tests/plugins/hostile.c -o /tmp/hostile/hostile.so",shell=True,check=True)
P="/tmp/hostile/hostile.so"
iso=Isolation(timeout=1.5, memory="256MiB")
WHAT="segv bus fpe abort overflow exit _exit kill spin pause freeze stop flood close daemon eat alarm handlers babble".split()
for where in sys.argv[1:] or ("call","create","destroy"):
  for w in WHAT+["last words"]:
    t=time.perf_counter()
    try:
        if where=="call":
            h=hardpoint.load(P,Hostile,isolated=iso); r=h.harm(w); print(w,"->",r); hardpoint.close(h)
        elif where=="create":
            h=hardpoint.load(P,Hostile,isolated=iso,config="create:"+w); print(w,"->",h.count()); hardpoint.close(h)
        else:
            h=hardpoint.load(P,Hostile,isolated=iso,config="destroy:"+w); h.count(); t=time.perf_counter(); hardpoint.close(h); print(w,"closed")
    except hardpoint.HardpointError as e:
        print(where,w,"->",type(e).__name__,str(e)[:300].replace("\n"," "))
    print("   %.2f s"%(time.perf_counter()-t))
