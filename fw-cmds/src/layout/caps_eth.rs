//! Capability pages of Ethernet ports.

layout! {
    IFC = KernelIfc("mlx5_ifc.h");

    /// Capability type 1: Ethernet offloads. `max_lso_cap`, `rss_ind_tbl_cap` are log2 of bytes and of entries.
    per_protocol_networking_offload_caps 0x800 {
        CSUM_CAP                         0x00  0x1;
        VLAN_CAP                         0x01  0x1;
        LRO_CAP                          0x02  0x1;
        LRO_PSH_FLAG                     0x03  0x1;
        LRO_TIME_STAMP                   0x04  0x1;
        WQE_VLAN_INSERT                  0x07  0x1;
        SELF_LB_EN_MODIFIABLE            0x08  0x1;
        MAX_LSO_CAP                      0x0b  0x5;
        MULTI_PKT_SEND_WQE               0x10  0x2;
        WQE_INLINE_MODE                  0x12  0x2;
        RSS_IND_TBL_CAP                  0x14  0x4;
        REG_UMR_SQ                       0x18  0x1;
        SCATTER_FCS                      0x19  0x1;
        ENHANCED_MULTI_PKT_SEND_WQE      0x1a  0x1;
        TUNNEL_LSO_CONST_OUT_IP_ID       0x1b  0x1;
        TUNNEL_LRO_GRE                   0x1c  0x1;
        TUNNEL_LRO_VXLAN                 0x1d  0x1;
        TUNNEL_STATELESS_GRE             0x1e  0x1;
        TUNNEL_STATELESS_VXLAN           0x1f  0x1;
        SWP                              0x20  0x1;
        SWP_CSUM                         0x21  0x1;
        SWP_LSO                          0x22  0x1;
        CQE_CHECKSUM_FULL                0x23  0x1;
        TUNNEL_STATELESS_GENEVE_TX       0x24  0x1;
        TUNNEL_STATELESS_MPLS_OVER_UDP   0x25  0x1;
        TUNNEL_STATELESS_MPLS_OVER_GRE   0x26  0x1;
        TUNNEL_STATELESS_VXLAN_GPE       0x27  0x1;
        TUNNEL_STATELESS_IPV4_OVER_VXLAN 0x28  0x1;
        TUNNEL_STATELESS_IP_OVER_IP      0x29  0x1;
        INSERT_TRAILER                   0x2a  0x1;
        TUNNEL_STATELESS_IP_OVER_IP_RX   0x2c  0x1;
        TUNNEL_STATELESS_IP_OVER_IP_TX   0x2d  0x1;
        MAX_VXLAN_UDP_PORTS              0x30  0x8;
        SWP_CSUM_L4_PARTIAL              0x38  0x1;
        MAX_GENEVE_OPT_LEN               0x3e  0x1;
        TUNNEL_STATELESS_GENEVE_RX       0x3f  0x1;
        LRO_MIN_MSS_SIZE                 0x50  0x10;
        LRO_TIMER_SUPPORTED_PERIODS      0x180 [0x20; 4];
    }

    /// Capability type 4: RoCE.
    roce_cap 0x800 {
        ROCE_APM                    0x00 0x1;
        SW_R_ROCE_SRC_UDP_PORT      0x04 0x1;
        FL_RC_QP_WHEN_ROCE_DISABLED 0x05 0x1;
        FL_RC_QP_WHEN_ROCE_ENABLED  0x06 0x1;
        ROCE_CC_GENERAL             0x07 0x1;
        QP_OOO_TRANSMIT_DEFAULT     0x08 0x1;
        QP_TS_FORMAT                0x1e 0x2;
        L3_TYPE                     0x8c 0x4;
        ROCE_VERSION                0x98 0x8;
        R_ROCE_DEST_UDP_PORT        0xb0 0x10;
        R_ROCE_MAX_SRC_UDP_PORT     0xc0 0x10;
        R_ROCE_MIN_SRC_UDP_PORT     0xd0 0x10;
        ROCE_ADDRESS_TABLE_SIZE     0xf0 0x10;
    }

    /// Capability type 7: flow tables of a function.
    flow_table_nic_cap 0x8000 {
        NIC_RX_MULTI_PATH_TIRS                      0x00   0x1;
        NIC_RX_MULTI_PATH_TIRS_FTS                  0x01   0x1;
        ALLOW_SNIFFER_AND_NIC_RX_SHARED_TIR         0x02   0x1;
        SW_OWNER_REFORMAT_SUPPORTED                 0x07   0x1;
        ENCAP_GENERAL_HEADER                        0x20   0x1;
        LOG_MAX_PACKET_REFORMAT_CONTEXT             0x2b   0x5;
        MAX_ENCAP_HEADER_SIZE                       0x36   0xa;
        FLOW_TABLE_PROPERTIES_NIC_RECEIVE           0x200  flow_table_prop_layout;
        FLOW_TABLE_PROPERTIES_NIC_RECEIVE_RDMA      0x400  flow_table_prop_layout;
        FLOW_TABLE_PROPERTIES_NIC_RECEIVE_SNIFFER   0x600  flow_table_prop_layout;
        FLOW_TABLE_PROPERTIES_NIC_TRANSMIT          0x800  flow_table_prop_layout;
        FLOW_TABLE_PROPERTIES_NIC_TRANSMIT_RDMA     0xa00  flow_table_prop_layout;
        FLOW_TABLE_PROPERTIES_NIC_TRANSMIT_SNIFFER  0xc00  flow_table_prop_layout;
        FT_FIELD_SUPPORT_2_NIC_RECEIVE              0x1400 flow_table_fields_supported_2;
        FT_FIELD_SUPPORT_2_NIC_RECEIVE_RDMA         0x1500 flow_table_fields_supported_2;
        FT_FIELD_SUPPORT_2_NIC_TRANSMIT_RDMA        0x1800 flow_table_fields_supported_2;
        SW_STEERING_NIC_RX_ACTION_DROP_ICM_ADDRESS  0x2000 0x40;
        SW_STEERING_NIC_TX_ACTION_DROP_ICM_ADDRESS  0x2040 0x40;
        SW_STEERING_NIC_TX_ACTION_ALLOW_ICM_ADDRESS 0x2080 0x40;
    }

    /// What flow tables of one type can do.
    flow_table_prop_layout 0x200 {
        FT_SUPPORT                          0x00  0x1;
        FLOW_COUNTER                        0x02  0x1;
        FLOW_MODIFY_EN                      0x03  0x1;
        MODIFY_ROOT                         0x04  0x1;
        IDENTIFIED_MISS_TABLE_MODE          0x05  0x1;
        FLOW_TABLE_MODIFY                   0x06  0x1;
        REFORMAT                            0x07  0x1;
        DECAP                               0x08  0x1;
        RESET_ROOT_TO_DEFAULT               0x09  0x1;
        POP_VLAN                            0x0a  0x1;
        PUSH_VLAN                           0x0b  0x1;
        POP_VLAN_2                          0x0d  0x1;
        PUSH_VLAN_2                         0x0e  0x1;
        REFORMAT_AND_VLAN_ACTION            0x0f  0x1;
        SW_OWNER                            0x11  0x1;
        REFORMAT_L3_TUNNEL_TO_L2            0x12  0x1;
        REFORMAT_L2_TO_L3_TUNNEL            0x13  0x1;
        REFORMAT_AND_MODIFY_ACTION          0x14  0x1;
        IGNORE_FLOW_LEVEL                   0x15  0x1;
        TABLE_MISS_ACTION_DOMAIN            0x17  0x1;
        TERMINATION_TABLE                   0x18  0x1;
        REFORMAT_AND_FWD_TO_TABLE           0x19  0x1;
        FORWARD_VHCA_RX                     0x1a  0x1;
        IPSEC_ENCRYPT                       0x1c  0x1;
        IPSEC_DECRYPT                       0x1d  0x1;
        SW_OWNER_V2                         0x1e  0x1;
        TERMINATION_TABLE_RAW_TRAFFIC       0x20  0x1;
        LOG_MAX_FT_SIZE                     0x22  0x6;
        LOG_MAX_MODIFY_HEADER_CONTEXT       0x28  0x8;
        MAX_MODIFY_HEADER_ACTIONS           0x30  0x8;
        MAX_FT_LEVEL                        0x38  0x8;
        REFORMAT_ADD_ESP_TRASPORT           0x40  0x1;
        REFORMAT_L2_TO_L3_ESP_TUNNEL        0x41  0x1;
        REFORMAT_ADD_ESP_TRANSPORT_OVER_UDP 0x42  0x1;
        REFORMAT_DEL_ESP_TRASPORT           0x43  0x1;
        REFORMAT_L3_ESP_TUNNEL_TO_L2        0x44  0x1;
        REFORMAT_DEL_ESP_TRANSPORT_OVER_UDP 0x45  0x1;
        EXECUTE_ASO                         0x46  0x1;
        REFORMAT_L2_TO_L3_PSP_TUNNEL        0x60  0x1;
        REFORMAT_L3_PSP_TUNNEL_TO_L2        0x61  0x1;
        REFORMAT_INSERT                     0x62  0x1;
        REFORMAT_REMOVE                     0x63  0x1;
        MACSEC_ENCRYPT                      0x64  0x1;
        MACSEC_DECRYPT                      0x65  0x1;
        PSP_ENCRYPT                         0x66  0x1;
        PSP_DECRYPT                         0x67  0x1;
        REFORMAT_ADD_MACSEC                 0x68  0x1;
        REFORMAT_REMOVE_MACSEC              0x69  0x1;
        REPARSE                             0x6a  0x1;
        CROSS_VHCA_OBJECT                   0x6c  0x1;
        REFORMAT_L2_TO_L3_AUDP_TUNNEL       0x6d  0x1;
        REFORMAT_L3_AUDP_TUNNEL_TO_L2       0x6e  0x1;
        IGNORE_FLOW_LEVEL_RTC_VALID         0x6f  0x1;
        REFORMAT_DEL_PSP_TRANSPORT          0x77  0x1;
        LOG_MAX_FT_NUM                      0x78  0x8;
        LOG_MAX_FLOW_COUNTER                0x90  0x8;
        LOG_MAX_DESTINATION                 0x98  0x8;
        LOG_MAX_FLOW                        0xb8  0x8;
        FT_FIELD_SUPPORT                    0x100 flow_table_fields_supported;
        FT_FIELD_BITMASK_SUPPORT            0x180 flow_table_fields_supported;
    }

    /// Headers that flow tables can match.
    flow_table_fields_supported 0x80 {
        OUTER_DMAC                 0x00 0x1;
        OUTER_SMAC                 0x01 0x1;
        OUTER_ETHER_TYPE           0x02 0x1;
        OUTER_IP_VERSION           0x03 0x1;
        OUTER_FIRST_PRIO           0x04 0x1;
        OUTER_FIRST_CFI            0x05 0x1;
        OUTER_FIRST_VID            0x06 0x1;
        OUTER_IPV4_TTL             0x07 0x1;
        OUTER_SECOND_PRIO          0x08 0x1;
        OUTER_SECOND_CFI           0x09 0x1;
        OUTER_SECOND_VID           0x0a 0x1;
        OUTER_SIP                  0x0c 0x1;
        OUTER_DIP                  0x0d 0x1;
        OUTER_FRAG                 0x0e 0x1;
        OUTER_IP_PROTOCOL          0x0f 0x1;
        OUTER_IP_ECN               0x10 0x1;
        OUTER_IP_DSCP              0x11 0x1;
        OUTER_UDP_SPORT            0x12 0x1;
        OUTER_UDP_DPORT            0x13 0x1;
        OUTER_TCP_SPORT            0x14 0x1;
        OUTER_TCP_DPORT            0x15 0x1;
        OUTER_TCP_FLAGS            0x16 0x1;
        OUTER_GRE_PROTOCOL         0x17 0x1;
        OUTER_GRE_KEY              0x18 0x1;
        OUTER_VXLAN_VNI            0x19 0x1;
        OUTER_GENEVE_VNI           0x1a 0x1;
        OUTER_GENEVE_OAM           0x1b 0x1;
        OUTER_GENEVE_PROTOCOL_TYPE 0x1c 0x1;
        OUTER_GENEVE_OPT_LEN       0x1d 0x1;
        SOURCE_VHCA_PORT           0x1e 0x1;
        SOURCE_ESWITCH_PORT        0x1f 0x1;
        INNER_DMAC                 0x20 0x1;
        INNER_SMAC                 0x21 0x1;
        INNER_ETHER_TYPE           0x22 0x1;
        INNER_IP_VERSION           0x23 0x1;
        INNER_FIRST_PRIO           0x24 0x1;
        INNER_FIRST_CFI            0x25 0x1;
        INNER_FIRST_VID            0x26 0x1;
        INNER_SECOND_PRIO          0x28 0x1;
        INNER_SECOND_CFI           0x29 0x1;
        INNER_SECOND_VID           0x2a 0x1;
        INNER_SIP                  0x2c 0x1;
        INNER_DIP                  0x2d 0x1;
        INNER_FRAG                 0x2e 0x1;
        INNER_IP_PROTOCOL          0x2f 0x1;
        INNER_IP_ECN               0x30 0x1;
        INNER_IP_DSCP              0x31 0x1;
        INNER_UDP_SPORT            0x32 0x1;
        INNER_UDP_DPORT            0x33 0x1;
        INNER_TCP_SPORT            0x34 0x1;
        INNER_TCP_DPORT            0x35 0x1;
        INNER_TCP_FLAGS            0x36 0x1;
        GENEVE_TLV_OPTION_0_DATA   0x40 0x1;
        GENEVE_TLV_OPTION_0_EXIST  0x41 0x1;
        OUTER_FIRST_MPLS_OVER_UDP  0x45 0x4;
        OUTER_FIRST_MPLS_OVER_GRE  0x49 0x4;
        INNER_FIRST_MPLS           0x4d 0x4;
        OUTER_FIRST_MPLS           0x51 0x4;
        OUTER_ESP_SPI              0x57 0x1;
        BTH_DST_QP                 0x5a 0x1;
        METADATA_REG_C_7           0x78 0x1;
        METADATA_REG_C_6           0x79 0x1;
        METADATA_REG_C_5           0x7a 0x1;
        METADATA_REG_C_4           0x7b 0x1;
        METADATA_REG_C_3           0x7c 0x1;
        METADATA_REG_C_2           0x7d 0x1;
        METADATA_REG_C_1           0x7e 0x1;
        METADATA_REG_C_0           0x7f 0x1;
    }

    /// More headers that flow tables can match.
    flow_table_fields_supported_2 0x80 {
        INNER_L4_TYPE_EXT 0x00 0x1;
        OUTER_L4_TYPE_EXT 0x01 0x1;
        INNER_L4_TYPE     0x02 0x1;
        OUTER_L4_TYPE     0x03 0x1;
        BTH_OPCODE        0x0e 0x1;
        TUNNEL_HEADER_0_1 0x10 0x1;
        IPSEC_NEXT_HEADER 0x2f 0x1;
    }
}
