// The records that the sandbox knows and makes up.

import RoutingContract

extension SalesforceID {
    /// Key prefix of a pending service routing.
    static let pendingServiceRouting = "0JR"
    /// Key prefix of a messaging session, the work item of a routed conversation.
    static let messagingSession = "0Mw"
    static let queue = "00G"
    static let flow = "300"
    static let user = "005"
    static let org = "00D"

    private static let digits = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

    /// The 18-character id of the record with this number.
    static func make(prefix: String, number: UInt64) -> String {
        var rest = number
        var tail: [UInt8] = []
        for _ in 0..<9 {
            tail.append(digits[Int(rest % 62)])
            rest /= 62
        }
        return withSuffix(prefix + "SB0" + String(decoding: tail.reversed(), as: UTF8.self))
    }
}
