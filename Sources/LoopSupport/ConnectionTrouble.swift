// What a failure of a connection means, in words for whoever has to mend it.

import Glibc
import NIOCore
import NIOPosix

/// Why a connection could not be opened, or broke.
public enum ConnectionTrouble {
    /// Words that name neither a function of a library nor a number: "Connection refused".
    public static func words(for error: any Error) -> String {
        switch error {
        case let error as IOError: String(cString: strerror(error.errnoCode))
        case let error as SocketAddressError.UnknownHost: notFound(error.host, error)
        case let error as NIOConnectionError: words(for: error)
        case ChannelError.connectTimeout: "no connection in time"
        case let error where TLSTrouble.isCause(of: error): TLSTrouble.words(for: error)
        default: String("\(error)".prefix(300))
        }
    }

    private static func words(for failure: NIOConnectionError) -> String {
        if failure.connectionErrors.isEmpty, let why = failure.dnsAError ?? failure.dnsAAAAError {
            return notFound(failure.host, why)
        }
        // Each address of a host was tried, most often with the same end.
        var reasons: [String] = []
        for reason in failure.connectionErrors.map({ words(for: $0.error) }) where !reasons.contains(reason) {
            reasons.append(reason)
        }
        return reasons.joined(separator: "; ")
    }

    private static func notFound(_ host: String, _ why: any Error) -> String {
        "\(host) was not found: \((why as? SocketAddressError.UnknownHost)?.errorDescription ?? "\(why)")"
    }
}
