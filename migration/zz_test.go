package migration
import ("testing";"context";"time")
func TestZZ(t *testing.T){
 t0:=time.Now()
 s,err:=openSQLite(context.Background(),"/tmp/big.db",t.TempDir()); if err!=nil{t.Fatal(err)}
 defer s.Close()
 t.Log("open",time.Since(t0)); t0=time.Now()
 s.(*sqliteSource).check(context.Background()); t.Log("check",time.Since(t0)); t0=time.Now()
 tt,err:=s.Tables(context.Background()); t.Log(tt,err,time.Since(t0)); t0=time.Now()
 n:=0
 for _,err:=range s.Rows(context.Background(),"messages",0){ if err!=nil{t.Fatal(err)}; n++ }
 t.Log(n,time.Since(t0)); t0=time.Now()
 q,err:=queryStrings(context.Background(),s.(*sqliteSource).db,"SELECT conversation_id FROM messages GROUP BY conversation_id HAVING count(*) <> count(DISTINCT order_seq)")
 t.Log(len(q),err,time.Since(t0))
}
