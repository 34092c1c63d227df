// What answers on another port than the broker's.
import Glibc

/// Answers one connection as a web server does that is not spoken to in HTTP, and closes it.
final class WebServer {
    let port: Int
    private let listener: Int32

    init() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 ? getsockname(listener, $0, &size) : -1
            }
        }
        self.listener = listener
        guard status == 0, listen(listener, 1) == 0 else { throw Missing("a port to listen on") }
        port = Int(UInt16(bigEndian: address.sin_port))
        var thread = pthread_t()
        let argument = UnsafeMutableRawPointer(bitPattern: Int(listener))
        pthread_create(
            &thread, nil,
            { argument in
                let peer = accept(Int32(Int(bitPattern: argument)), nil, nil)
                var request = [UInt8](repeating: 0, count: 64)
                _ = read(peer, &request, request.count)
                let answer = Array("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".utf8)
                _ = write(peer, answer, answer.count)
                close(peer)
                return nil
            }, argument)
        pthread_detach(thread)
    }

    deinit { close(listener) }
}
