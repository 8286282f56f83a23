// What the peers of the Thrift tests ask each other. A method's name says which server a route
// leads it to, and how that server is spoken to; every server answers every method alike.
namespace rs echo

service Echo {
    string apache_framed_binary(1: string text)
    string apache_framed_compact(1: string text)
    string apache_buffered_binary(1: string text)
    string apache_buffered_compact(1: string text)
    string apache_theader(1: string text)
    string thriftpy2_framed_binary(1: string text)
    string thriftpy2_framed_compact(1: string text)
    string thriftpy2_buffered_binary(1: string text)
    string thriftpy2_buffered_compact(1: string text)
    string npm_framed_binary(1: string text)
    string npm_framed_compact(1: string text)
    string npm_buffered_binary(1: string text)
    string npm_buffered_compact(1: string text)
    string npm_theader_binary(1: string text)
    string volo_framed(1: string text)
    string volo_buffered(1: string text)
    string volo_ttheader(1: string text)
    string volo_multiplexed(1: string text)
    string nowhere(1: string text)
    oneway void tell_apache(1: string text)
    oneway void tell_thriftpy2(1: string text)
    oneway void tell_npm(1: string text)
    oneway void tell_volo(1: string text)
}
